"""What other programs ask of a model: how likely a text is, and what it writes.

The three requests are those of EleutherAI's lm-evaluation-harness, and are answered as it defines
them (https://github.com/EleutherAI/lm-evaluation-harness); `harness` is the door for that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from bytemill import Tokenizer
from bytemill.lm.evaluate.core.prompts import Question
from bytemill.lm.evaluate.core.score import Computing, Score, score
from bytemill.lm.generate.text import check_vocabulary, generate_steps
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.transformer import Transformer

FIRST: Sequence[str] = ("<|bos|>", "<|endoftext|>")
"""What a text begins with, whichever of them a tokenizer has."""


class Requests:
    """A model that answers requests.

    Args:
        model: In evaluation mode.
        tokenizer: The model's.
        batch_size: Rows at a time. It changes speed and memory only.
        computing: Makes the context to compute in, such as autocast.
        weights: To write with; made of the model if None.

    Raises:
        ValueError: The tokenizer is another model's, or has none of the tokens that a text may
            begin with; `batch_size` is below 1.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        batch_size: int = 32,
        computing: Computing = nullcontext,
        weights: DecodingWeights | None = None,
    ) -> None:
        check_vocabulary(tokenizer, model.config.vocab_size)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: it must be at least 1")
        special = tokenizer.special_tokens
        found = [special[name] for name in FIRST if name in special]
        if not found:
            raise ValueError(
                f"the tokenizer has neither {' nor '.join(FIRST)}, one of which a text begins with"
            )
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.context_length = model.config.context_length
        self.first_id = found[0]
        """What every text begins with."""
        self._computing, self._weights = computing, weights

    def loglikelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """How likely continuations are.

        Contexts that follow one another and are the same are read once.

        Args:
            pairs: A context, which may be empty, and what is to follow it. Spaces that a context
                ends with count as the continuation's. The ids are those of both together, so that
                a token across the border is the context's.

        Returns:
            Of each the sum of log-probabilities in nats, and whether greedy decoding gives it.

        Raises:
            ValueError: A continuation is empty, or longer than the context length.
        """
        questions, numbers = [], []
        for _, group in itertools.groupby(enumerate(pairs), key=lambda pair: pair[1][0]):
            rows, spans, places = [], [], []
            for place, (context, continuation) in group:
                row, start = self._row(context, continuation)
                rows.append(row)
                spans.append((start, len(row)))
                places.append(place)
            questions.append(Question(rows, spans, 0, False))
            numbers.append(places)
        result: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
        for which, found in self._scores(questions):
            spans = questions[which].spans
            for place, loss, exact, (start, end) in zip(
                numbers[which], found.losses, found.exact, spans, strict=True
            ):
                result[place] = -loss * (end - start), exact
        return result

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """The log-probability in nats of each text, whatever its length.

        Every token is scored once: those of the first window from its beginning, each later window
        has as much context as there is room for.
        """
        questions, owners = [], []
        context = self.context_length
        for number, text in enumerate(texts):
            ids = [self.first_id, *self.tokenizer.encode_ordinary(text)]
            start = 1
            while start < len(ids):
                end = min(start + context, len(ids))
                low = max(end - context - 1, 0)
                questions.append(Question([ids[low:end]], [(start - low, end - low)], None, False))
                owners.append(number)
                start = end
        totals = [0.0] * len(texts)
        parts = dict(self._scores(questions))
        for which, owner in enumerate(owners):
            ((start, end),) = questions[which].spans
            totals[owner] -= parts[which].losses[0] * (end - start)
        return totals

    def written(
        self,
        prompts: Sequence[str],
        *,
        until: Sequence[str] = (),
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> list[str]:
        """What the model writes after each prompt, up to the first of some texts.

        Args:
            prompts: Of long ones the end is read, so that there is room for what is written.
            until: Texts that end it and are left out; so does a special token that is not text.
            max_new_tokens: The most tokens of each.
            temperature, top_k, top_p: As for `generate`; 0 is greedy.
            seed: Row i has `seed + i`.

        Raises:
            ValueError: `max_new_tokens` is not from 1 to the context length; as `generate`.
        """
        if not 1 <= max_new_tokens <= self.context_length:
            raise ValueError(
                f"max_new_tokens={max_new_tokens}: it must be from 1 to the context length, "
                f"{self.context_length}"
            )
        room = max(self.context_length - max_new_tokens, 1)  # as the harness cuts them
        ids = [[self.first_id, *self.tokenizer.encode_ordinary(p)][-room:] for p in prompts]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        special = self.tokenizer.special_tokens.values()
        texts = [""] * len(ids)
        self._weights = self._weights or DecodingWeights(self.model)
        for first in range(0, len(order), self.batch_size):
            batch = order[first : first + self.batch_size]
            steps = generate_steps(
                self._weights,
                [ids[i] for i in batch],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                stop=[i for i in special if self.tokenizer.is_control_token(i)],
                seed=[seed + i for i in batch],
            )
            for i, text in zip(batch, self._until(steps, len(batch), until), strict=True):
                texts[i] = text
        return texts

    def _until(self, steps: Iterator[list[int | None]], n: int, until: Sequence[str]) -> list[str]:
        ends = [text for text in until if text]
        longest = max(map(len, ends), default=0)
        decoders = [self.tokenizer.stream_decoder() for _ in range(n)]
        texts, going = [""] * n, set(range(n))
        for step in steps:
            for row in list(going):
                token = step[row]
                if token is None:
                    continue
                if token < self.tokenizer.n_vocab:
                    before = len(texts[row])
                    texts[row] += decoders[row].push(token)
                    if any(end in texts[row][max(before - longest, 0) :] for end in ends):
                        going.discard(row)
            if not going:
                break
        for row in going:
            texts[row] += decoders[row].finish()
        return [_before(text, ends) for text in texts]

    def _row(self, context: str, continuation: str) -> tuple[list[int], int]:
        """Ids, and where the continuation begins."""
        bare = context.rstrip()
        encode = self.tokenizer.encode_ordinary
        row = [self.first_id, *encode(context + continuation)]
        start = 1 + len(encode(bare))
        if len(row) == 1 or not continuation:
            raise ValueError(f"nothing is to follow {context[-40:]!r}: the continuation is empty")
        start = min(start, len(row) - 1)
        lost = max(len(row) - self.context_length - 1, 0)
        if start - lost < 1:
            raise ValueError(
                f"the continuation {continuation[:40]!r} has {len(row) - start} tokens, more than "
                f"the context length {self.context_length}"
            )
        return row[lost:], start - lost

    def _scores(self, questions: Sequence[Question]) -> Iterator[tuple[int, Score]]:
        return score(self.model, questions, batch_size=self.batch_size, computing=self._computing)


def _before(text: str, ends: Sequence[str]) -> str:
    """The text up to the first of some others in it."""
    found = [at for end in ends if (at := text.find(end)) >= 0]
    return text[: min(found)] if found else text
