"""The application: paths, and what is behind each."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from bytemill.lm.engine.engine import EngineClosed, EngineFull
from bytemill.serve import page, requests
from bytemill.serve.answers import Answer
from bytemill.serve.assistant import Assistant, Job, News, full
from bytemill.serve.body import ClientDisconnect, read_json
from bytemill.serve.channel import Channel
from bytemill.serve.errors import ApiError
from bytemill.serve.guard import Guard
from bytemill.serve.limits import Limits
from bytemill.serve.metrics import Metrics
from bytemill.serve.requests import Asked, Defaults
from bytemill.serve.shapes import ChatShape, Shape, TextShape, dumped


@dataclass(frozen=True)
class ServeSettings:
    """How a server is set up."""

    limits: Limits = field(default_factory=Limits)
    defaults: Defaults = field(default_factory=Defaults)
    key: str | None = None
    """What clients must send; None for nothing."""
    hosts: Collection[str] | None = None
    """The names by which it may be called; None for any."""
    log: Path | None = None
    """A file to which conversations are appended, a line of JSON each; None for none."""
    patience: float = 30.0
    """Seconds that running answers have when the server stops."""


class Json(Response):
    """A small answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """In UTF-8."""
        return dumped(content)


def make_app(assistant: Assistant, settings: ServeSettings | None = None) -> FastAPI:
    """The application, which starts the engines and closes them.

    Args:
        assistant: What answers.
        settings: How.
    """
    settings = ServeSettings() if settings is None else settings
    server = _Server(assistant, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        assistant.pool.start()
        yield
        await asyncio.to_thread(assistant.pool.close, settings.patience)

    # Its documentation pages load scripts from elsewhere.
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.metrics = server.metrics
    app.add_middleware(Guard, metrics=server.metrics, key=settings.key, hosts=settings.hosts)
    get, post = {"methods": ["GET", "HEAD"]}, {"methods": ["POST"]}
    for path, endpoint, methods in (
        ("/", server.page, get),
        ("/health", server.health, get),
        ("/stats", server.stats, get),
        ("/metrics", server.prometheus, get),
        ("/v1/models", server.models, get),
        ("/v1/models/{name:path}", server.model, get),
        ("/v1/chat/completions", server.chat, post),
        ("/v1/completions", server.complete, post),
    ):
        app.add_api_route(path, endpoint, response_model=None, **methods)  # type: ignore[arg-type]

    async def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, ApiError):
            status = error.status_code if isinstance(error, HTTPException) else 500
            text = "there is nothing here" if status == 404 else str(getattr(error, "detail", ""))
            headers = dict(getattr(error, "headers", None) or {})
            error = ApiError(status, text or "the server failed", headers=headers)
        return Json(error.to_dict(), error.status, error.headers)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, refused)
    return app


class _Server:
    def __init__(self, assistant: Assistant, settings: ServeSettings) -> None:
        self._assistant, self._settings = assistant, settings
        self.metrics = Metrics(assistant.pool)
        self._logging = asyncio.Lock()

    async def page(self) -> Response:
        return Response(page.CONTENT, media_type="text/html", headers=page.HEADERS)

    async def health(self) -> Response:
        alive = self._assistant.pool.is_alive
        return Json({"status": "ok" if alive else "stopping"}, 200 if alive else 503)

    async def stats(self) -> Response:
        return Json({"model": self._assistant.name, **self.metrics.to_dict()})

    async def prometheus(self) -> Response:
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(self) -> Response:
        return Json({"object": "list", "data": [self._model()]})

    async def model(self, name: str) -> Response:
        requests.check_model({"model": name}, self._is_called)
        return Json(self._model())

    async def chat(self, request: Request) -> Response:
        limits, assistant = self._settings.limits, self._assistant

        def prepare(data: Any, channel: Channel[News]) -> tuple[Asked, Job, Shape]:
            asked = requests.chat_asked(data, limits, self._settings.defaults)
            job = assistant.chat(asked, channel.put)
            return asked.common, job, ChatShape(asked, assistant.name, assistant.tokenizer)

        return await self._answer(request, prepare)

    async def complete(self, request: Request) -> Response:
        limits, assistant = self._settings.limits, self._assistant

        def prepare(data: Any, channel: Channel[News]) -> tuple[Asked, Job, Shape]:
            asked = requests.text_asked(data, limits, self._settings.defaults)
            job = assistant.complete(asked, channel.put)
            shape = TextShape(asked, job.prompts, assistant.name, assistant.tokenizer)
            return asked.common, job, shape

        return await self._answer(request, prepare)

    async def _answer(
        self,
        request: Request,
        prepare: Callable[[Any, Channel[News]], tuple[Asked, Job, Shape]],
    ) -> Response:
        try:
            data = await read_json(request, self._settings.limits)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        requests.check_model(data, self._is_called)
        channel: Channel[News] = Channel(asyncio.get_running_loop())
        # A long conversation takes some time to encode, in which others are to be answered.
        common, job, shape = await asyncio.to_thread(prepare, data, channel)
        n_prompts = len(job.prompts)
        n = len(job.rows) // n_prompts
        try:
            for i in range(n_prompts):
                self._assistant.pool.submit(job.rows[i * n : (i + 1) * n])
        except (EngineFull, EngineClosed) as error:
            for row in job.rows:
                row.cancel()
            if isinstance(error, EngineClosed):
                raise ApiError(503, "the server is stopping", code="stopping") from None
            raise full(*self._in_line()) from None
        record = None
        if self._settings.log is not None:
            record = self._recorder(self._settings.log, data)
        return Answer(
            job,
            channel,
            shape,
            streams=common.streams,
            metrics=self.metrics,
            write_seconds=self._settings.limits.write_seconds,
            record=record,
        )

    def _in_line(self) -> tuple[int, float]:
        """How many rows wait, and the seconds after which some of them will have begun."""
        workers = self._assistant.pool.workers
        n_waiting = sum(worker.engine.n_waiting for worker in workers)
        step = max(worker.step_seconds for worker in workers)
        # As if an answer took a hundred steps; nobody knows.
        return n_waiting, min(60.0, max(1.0, math.ceil(100 * step)))

    def _model(self) -> dict[str, Any]:
        assistant = self._assistant
        return {
            "id": assistant.name,
            "object": "model",
            "created": assistant.created,
            "owned_by": "bytemill",
            "context_length": assistant.context,
            "chats": assistant.renderer is not None,
        }

    def _is_called(self, name: str) -> bool:
        return name == self._assistant.name

    def _recorder(
        self, path: Path, asked: Any
    ) -> Callable[[dict[str, Any]], Coroutine[Any, Any, None]]:
        def write(line: str) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(line)

        async def record(answer: dict[str, Any]) -> None:
            line = json.dumps({"time": time.time(), "asked": asked, "answer": answer}) + "\n"
            async with self._logging:
                await asyncio.to_thread(write, line)

        return record
