"""Random calls of a fast tokenizer, and what two of them answer."""

import random
from typing import Any

from tests.support import families
from tests.support.vocabularies import PIECES


def texts_of(name: str, rng: random.Random, n: int) -> list[str]:
    """Texts with a family's added tokens, and what is near them, among them."""
    family = families.FAMILIES[name]
    added = [entry["content"] for key in ("first", "last") for entry in family.get(key, [])]
    pieces = [*PIECES, *added, *(text[:-1] for text in added), "e\u0301", "中文", "1234", " ", "\n"]
    return ["".join(rng.choices(pieces, k=rng.randint(0, 9))) for _ in range(n)]


def random_call(name: str, rng: random.Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call."""

    def some() -> Any:
        if not options["is_split_into_words"]:
            return texts_of(name, rng, 1)[0]
        return texts_of(name, rng, rng.randint(1, 4))

    options: dict[str, Any] = {"is_split_into_words": rng.random() < 0.2}
    batched, paired = rng.random() < 0.6, rng.random() < 0.4
    n = rng.randint(1, 4)
    texts = [[some() for _ in range(n)] if batched else some() for _ in range(1 + paired)]
    options["padding"] = rng.choice([False, True, "longest", "max_length"])
    options["truncation"] = rng.choice(
        [None, False, True, "longest_first", "only_first", "only_second"]
    )
    if rng.random() < 0.7:
        options["max_length"] = rng.choice([0, 1, 2, 3, 4, 8, 8, 16, 24, 40])
    if rng.random() < 0.4:
        options["stride"] = rng.choice([0, 1, 2, 3, 7])
    if rng.random() < 0.3:
        options["pad_to_multiple_of"] = rng.choice([1, 3, 8])
    if rng.random() < 0.3:
        options["padding_side"] = rng.choice(["left", "right"])
    if rng.random() < 0.3:
        options["split_special_tokens"] = rng.random() < 0.5
    options["add_special_tokens"] = rng.random() < 0.7
    for key in (
        "token_type_ids", "attention_mask", "overflowing_tokens", "special_tokens_mask",
        "offsets_mapping", "length",
    ):  # fmt: skip
        if rng.random() < 0.5:
            options[f"return_{key}"] = rng.random() < 0.8
    if rng.random() < 0.2:
        options["return_tensors"] = "np"
    return tuple(texts), options


def answer(tokenizer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What a call gives, in plain data; "refused" if it raises."""
    try:
        result = tokenizer(*args, verbose=False, **options)
    except BaseException as error:  # a panic of theirs is not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return "refused"
    plain = {key: _lists(value) for key, value in result.items()}
    told = []
    for encoding in result.encodings or []:
        told.append((encoding.tokens, encoding.sequence_ids, encoding.n_sequences))
    return plain, told


def _lists(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
