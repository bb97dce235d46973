"""`BytemillTokenizerFast`: a fast tokenizer of transformers, on the Rust core of this package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

from transformers import PreTrainedTokenizerFast

from bytemill import files
from bytemill.formats import huggingface
from bytemill.formats.transformers.engine import Engine
from bytemill.vocabulary import Vocabulary

_CONFIG = "tokenizer_config.json"


class BytemillTokenizerFast(PreTrainedTokenizerFast):
    """A `PreTrainedTokenizerFast` that encodes and decodes with bytemill instead of `tokenizers`.

    Calls, padding, truncation, tensors, chat templates, special tokens and files are transformers'
    own; results are those that `PreTrainedTokenizerFast` gives of the same tokenizer.json.
    `save_pretrained` writes a folder that `AutoTokenizer` reads as well as this class does.

    Args:
        tokenizer_file: A tokenizer.json to read, if there is no object.
        **options: tokenizer_object, an `Engine` or a `Vocabulary`; and transformers' own:
            bos_token, eos_token, pad_token, extra_special_tokens, model_max_length, padding_side,
            truncation_side, chat_template and so on.

    Raises:
        ValueError: There is neither; the tokenizer.json has what bytemill has no counterpart for
            (it is named).
    """

    def __init__(
        self,
        *,
        tokenizer_file: str | None = None,
        **options: Any,
    ) -> None:
        tokenizer_object: Engine | Vocabulary | None = options.pop("tokenizer_object", None)
        if isinstance(tokenizer_object, Vocabulary):
            tokenizer_object = Engine(tokenizer_object)
        if tokenizer_object is None:
            if tokenizer_file is None:
                raise ValueError(
                    "a folder without a tokenizer.json, or a call without tokenizer_object: make "
                    "one by bytemill.Tokenizer(...).as_transformers()"
                )
            tokenizer_object = Engine(huggingface.read(tokenizer_file))
        initialize: Callable[..., None] = super().__init__
        initialize(tokenizer_object=tokenizer_object, **{"backend": "bytemill", **options})

    @property
    def engine(self) -> Engine:
        """What encodes and decodes."""
        return cast(Engine, self._tokenizer)

    @classmethod
    def convert_to_native_format(
        cls, trust_remote_code: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Leaves the tokenizer.json to `__init__`."""
        return kwargs

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens as a tokenizer.json writes them, also of those of no id."""
        ids = [self.engine.token_to_id(token) for token in tokens]
        known = [id_ for id_ in ids if id_ is not None]
        if len(known) < len(ids) or self.engine.is_renamed(known):
            return self.engine.text_of(tokens)
        return self.engine.decode(known, skip_special_tokens=False)

    def train_new_from_iterator(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Is not offered: training is `bytemill.BpeTrainer`'s.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "train_new_from_iterator: train with bytemill.BpeTrainer and call as_transformers() on "
            "the tokenizer that it gives"
        )

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Writes the folder that `AutoTokenizer.from_pretrained` and this class' read.

        As transformers' own method; the class that it names is PreTrainedTokenizerFast.
        """
        written = super().save_pretrained(save_directory, *args, **kwargs)
        prefix = kwargs.get("filename_prefix")
        path = Path(save_directory) / (f"{prefix}-{_CONFIG}" if prefix else _CONFIG)
        config = files.read_json_object(path)
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config.pop("backend", None)
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
        files.write_bytes(path, f"{text}\n".encode())
        return written

    def _encode_without_added_tokens(self, text: str) -> list[int]:
        return self.engine.ids_without_added(text)

    def _decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> str:
        if isinstance(token_ids, int):
            token_ids = [token_ids]
        elif isinstance(token_ids, dict):
            token_ids = token_ids["input_ids"]
        text = self.engine.decode(token_ids, skip_special_tokens)
        clean = clean_up_tokenization_spaces
        if clean is None:
            clean = self.clean_up_tokenization_spaces
        # transformers itself cleans up text of BPE only where this is set as well.
        if clean and self.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output:
            return str(self.clean_up_tokenization(text))
        return text
