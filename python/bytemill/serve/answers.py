"""Answers on their way to a client: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bytemill.serve.assistant import Job, News
from bytemill.serve.channel import Channel
from bytemill.serve.errors import ApiError
from bytemill.serve.metrics import Metrics
from bytemill.serve.protocol import cut
from bytemill.serve.shapes import Shape, dumped, event

_PLAIN = [(b"content-type", b"application/json")]
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy that collects what it gets would undo streaming
]


class ClientGone(Exception):
    """The client has closed its connection, or does not read."""


class Answer(Response):
    """What becomes of a job; when the client goes, its rows end.

    Args:
        job: The rows, which the engine has.
        channel: Where their news come.
        shape: What is made of them.
        streams: Whether news are sent as they come.
        metrics: Where it is counted.
        write_seconds: How long a client may refuse to read.
        record: Called with the whole answer, if anything is to be recorded.
    """

    def __init__(
        self,
        job: Job,
        channel: Channel[News],
        shape: Shape,
        *,
        streams: bool,
        metrics: Metrics,
        write_seconds: float,
        record: Callable[[dict[str, Any]], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        super().__init__()
        self._job, self._channel, self._shape = job, channel, shape
        self._streams, self._metrics, self._write_seconds = streams, metrics, write_seconds
        self._record = record
        self._news: list[list[News]] = [[] for _ in job.rows]
        self._began = time.perf_counter()
        self._is_last = False
        """Whether all that the client gets is on its way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        self._metrics.open += 1
        gone = asyncio.ensure_future(_gone(receive))
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            # Who has the last of it may go while what remains is done.
            if not sending.done() and not self._is_last:
                self._metrics.closed_early += 1
                return
            try:
                await sending
            except ClientGone:
                # Closing would wait for what it does not read.
                cut(scope.get("client"))
        finally:
            self._metrics.open -= 1
            for row in self._job.rows:
                row.cancel()
            for task in (gone, sending):
                task.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        try:
            await (self._stream(send) if self._streams else self._whole(send))
        except ClientGone:
            self._metrics.closed_early += 1
            raise
        self._metrics.whole.add(time.perf_counter() - self._began)
        if self._record is not None:
            choices = [self._shape.choice(i, news) for i, news in enumerate(self._news) if news]
            await self._record(self._shape.whole(choices, self._job.usage()))

    async def _each(self) -> AsyncIterator[list[News]]:
        """News as they come, until all rows have ended."""
        left, is_first = len(self._job.rows), True
        while left:
            some = await self._channel.take()
            for news in some:
                self._news[news.row].append(news)
                if news.end is not None:
                    left -= 1
                    self._job.remember(self._job.rows[news.row])
            if is_first:
                self._metrics.first_token.add(time.perf_counter() - self._began)
                is_first = False
            yield some

    async def _stream(self, send: Send) -> None:
        await self._start(send, 200, _STREAM)
        await self._body(send, self._shape.beginning())
        async for some in self._each():
            if error := _failure(some):
                await self._body(send, event(error.to_dict()), more=False)
                return
            events = b"".join(chunk for news in some for chunk in self._shape.news(news))
            if events:
                await self._body(send, events)
        await self._body(send, self._shape.end(self._job.usage()), more=False)

    async def _whole(self, send: Send) -> None:
        async for some in self._each():
            if error := _failure(some):
                await self._start(send, error.status, _PLAIN)
                await self._body(send, dumped(error.to_dict()), more=False)
                return
        choices = [self._shape.choice(i, news) for i, news in enumerate(self._news)]
        body = dumped(self._shape.whole(choices, self._job.usage()))
        await self._start(send, 200, [*_PLAIN, (b"content-length", str(len(body)).encode())])
        await self._body(send, body, more=False)

    async def _start(self, send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, send: Send, body: bytes, more: bool = True) -> None:
        if not body and more:
            return
        self._is_last = not more
        message = {"type": "http.response.body", "body": body, "more_body": more}
        try:
            await asyncio.wait_for(send(message), self._write_seconds)
        except (asyncio.TimeoutError, OSError):
            raise ClientGone from None


async def _gone(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _failure(some: list[News]) -> ApiError | None:
    for news in some:
        if news.end is not None and news.end.finish in ("error", "cancelled"):
            why = "the server is stopping" if news.end.error is None else str(news.end.error)
            return ApiError(503 if news.end.error is None else 500, why, code="engine_failed")
    return None
