"""Our models in EleutherAI's lm-evaluation-harness; needs the package `lm_eval`.

    python -m bytemill.lm.evaluate.harness run --model bytemill --model_args run=R --tasks piqa

is the harness's own command line with the model "bytemill" in it.
"""

from __future__ import annotations

from typing import Any

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError:
    raise ImportError(
        "EleutherAI's lm-evaluation-harness is not installed: pip install 'bytemill[harness]'"
    ) from None

from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.requests import Requests

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_DEFAULT_LENGTH = 256


@register_model("bytemill")
class BytemillLM(LM):  # type: ignore[misc]
    """A run's model, or one checkpoint's.

    Args:
        run: The folder.
        checkpoint: Of a run: "best", "last", or a step.
        device: As for `bytemill evaluate`: cpu, cuda, mps, or auto.
        dtype: To compute in: float32, bfloat16, or auto.
        batch_size: Rows at a time.
        max_batch_size: Of the harness's interface; not used.

    Raises:
        FileNotFoundError, ValueError: As `load_model` and `Requests`; the run has no tokenizer.
    """

    def __init__(
        self,
        run: str,
        checkpoint: str | int = "best",
        device: str | None = "auto",
        dtype: str = "float32",
        batch_size: int | str = 32,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        where = runtime.choose_device(device or "auto")
        kind = runtime.choose_dtype(dtype, where)
        if isinstance(checkpoint, str) and checkpoint.isdecimal():
            checkpoint = int(checkpoint)
        loaded = load_model(run, which=checkpoint, device=where)
        if loaded.tokenizer is None:
            raise ValueError(f"{run}: no tokenizer was saved with it")
        rows = 32 if str(batch_size).startswith("auto") else int(batch_size)
        self._device = where
        self.requests = Requests(
            loaded.model,
            loaded.tokenizer,
            batch_size=rows,
            computing=lambda: runtime.autocast(where, kind),
        )

    @property
    def tokenizer_name(self) -> str:
        """By which the harness knows what it has cached."""
        return self.requests.tokenizer.fingerprint

    @property
    def max_length(self) -> int:
        """The context length."""
        return self.requests.context_length

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """As `Requests.loglikelihoods`; requests whose contexts are equal are put together."""
        pairs = [request.args for request in requests]
        order = sorted(range(len(pairs)), key=lambda i: pairs[i][0])
        found = self.requests.loglikelihoods([pairs[i] for i in order])
        results = [(0.0, False)] * len(pairs)
        for i, result in zip(order, found, strict=True):
            results[i] = result
            self.cache_hook.add_partial("loglikelihood", pairs[i], result)
        return results

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """As `Requests.rolling`."""
        results = self.requests.rolling([request.args[0] for request in requests])
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, result)
        return results

    def generate_until(self, requests: list[Any]) -> list[str]:
        """As `Requests.written`, for all requests that want the same together.

        Raises:
            ValueError: A request has an option that is not known.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(_options(request.args[1]), []).append(number)
        results = [""] * len(requests)
        for (until, length, temperature, top_k, top_p), numbers in groups.items():
            texts = self.requests.written(
                [requests[i].args[0] for i in numbers],
                until=until,
                max_new_tokens=min(length, self.max_length),
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
            )
            for i, text in zip(numbers, texts, strict=True):
                results[i] = text
                self.cache_hook.add_partial("generate_until", requests[i].args, text)
        return results


def _options(given: dict[str, Any]) -> tuple[Any, ...]:
    """Until what, how many tokens, temperature, top_k, top_p."""
    options = dict(given)
    until = options.pop("until", None) or []
    until = (until,) if isinstance(until, str) else tuple(until)
    lengths = [options.pop(name, None) for name in _LENGTHS]
    length = next((int(n) for n in lengths if n is not None), _DEFAULT_LENGTH)
    temperature = float(options.pop("temperature", 0.0) or 0.0)
    if options.pop("do_sample", temperature > 0) is False:
        temperature = 0.0
    top_k, top_p = options.pop("top_k", None), options.pop("top_p", None)
    if options:
        raise ValueError(
            f"the generation option {min(options)!r} is not known; there are: until, "
            f"{', '.join(_LENGTHS)}, do_sample, temperature, top_k, top_p"
        )
    return until, length, temperature, top_k or None, top_p


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
