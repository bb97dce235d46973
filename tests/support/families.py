"""The published configurations of families of models, with small vocabularies trained here.

Each is what the family's tokenizer.json says: its normalizer, pre-tokenizer, flags of the model,
kinds of added tokens and post-processor. Vocabularies, and so ids, are our own.
"""

import functools
import json
from typing import Any

from tests.support.vocabularies import generated_text

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ONE_DIGIT = GPT4.replace("{1,3}", "")
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_REST = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_END}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_END}"
    rf"|{_REST}"
)
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|"
    + _REST.replace("{1,3}", "")
)
_NOT_HAN_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_NOT_HAN_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
KIMI = (
    rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{_NOT_HAN_UPPER}*{_NOT_HAN_LOWER}+{_END}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_NOT_HAN_UPPER}+{_NOT_HAN_LOWER}*{_END}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
).replace(r"\r\n", "\r\n")
QWEN_3_5 = ONE_DIGIT.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"\s\p{L}", r"\s\p{L}\p{M}")
DEEPSEEK_CASED = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ"
    "ἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ"
    "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def byte_level(**changes: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
        **changes,
    }  # fmt: skip


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    pattern = {"Regex": regex}
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def row(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def one_split(regex: str) -> dict[str, Any]:
    return row(split(regex), byte_level(use_regex=False))


def digits(alone: bool) -> dict[str, Any]:
    return {"type": "Digits", "individual_digits": alone}


def token(content: str, **flags: bool) -> dict[str, Any]:
    """An added token; special and plain unless told otherwise."""
    return {
        "content": content, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": True, **flags,
    }  # fmt: skip


def template(before: list[str], after: list[str] = []) -> dict[str, Any]:  # noqa: B006
    def piece(name: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    def side(which: str, type_id: int) -> list[dict[str, Any]]:
        text = {"Sequence": {"id": which, "type_id": type_id}}
        names = [piece(name, type_id) for name in before], [piece(n, type_id) for n in after]
        return [*names[0], text, *names[1]]

    names = dict.fromkeys([*before, *after])
    return {
        "type": "TemplateProcessing",
        "single": side("A", 0),
        "pair": side("A", 0) + side("B", 1),
        "special_tokens": {name: {"id": name, "ids": [name], "tokens": [name]} for name in names},
    }


def pair(kind: str, first: str, last: str) -> dict[str, Any]:
    """A post-processor of BERT's kinds; the trainer fills in the ids."""
    extra = {"trim_offsets": True, "add_prefix_space": False} if kind == "RobertaProcessing" else {}
    return {"type": kind, "sep": [last, last], "cls": [first, first], **extra}


NFC = {"type": "NFC"}
IM = ["<|im_start|>", "<|im_end|>"]
SPACES = [token(" " * n, special=False, normalized=True) for n in (24, 16, 8, 4, 3, 2)]
CODE = ["<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
ROBERTA = [token("<s>"), token("<pad>"), token("</s>"), token("<unk>")]
MASK = token("<mask>", lstrip=True)
DEEPSEEK = row(
    split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_WORDS),
    byte_level(use_regex=False),
)  # fmt: skip
STARCODER = row(digits(True), byte_level())

# Name -> pre-tokenizer and what else differs from plain: "normalizer", "first" (special tokens with
# the first ids), "last" (added behind the vocabulary), "post_processor", "model".
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"pre_tokenizer": byte_level(), "last": [token("<|endoftext|>", normalized=True)]},
    "roberta": {
        "pre_tokenizer": byte_level(),
        "first": [*ROBERTA, MASK],
        "post_processor": pair("RobertaProcessing", "<s>", "</s>"),
    },
    "longformer": {
        "pre_tokenizer": byte_level(add_prefix_space=True),
        "first": [*ROBERTA, MASK],
        "post_processor": pair("RobertaProcessing", "<s>", "</s>"),
    },
    "opt": {
        "pre_tokenizer": byte_level(),
        "first": [token("<pad>", normalized=True), token("</s>", normalized=True)],
        "post_processor": template(["</s>"]),
    },
    "whisper": {
        "pre_tokenizer": byte_level(),
        "last": [token("<|endoftext|>"), token("<|en|>"), token("<|0.00|>", special=False)],
        "post_processor": template(["<|en|>"], ["<|endoftext|>"]),
    },
    "bart": {
        "pre_tokenizer": byte_level(),
        "first": [*ROBERTA, token("<mask>", lstrip=True, normalized=True)],
        "post_processor": pair("RobertaProcessing", "<s>", "</s>"),
    },
    "gpt-neox": {
        "normalizer": NFC,
        "pre_tokenizer": byte_level(),
        "first": [token("<|endoftext|>"), token("<|padding|>")],
        "last": SPACES,
        "post_processor": template([]),
    },
    "olmo": {
        "normalizer": NFC,
        "pre_tokenizer": byte_level(),
        "first": [token("<|endoftext|>")],
        "last": [*SPACES, token("|||EMAIL_ADDRESS|||", special=False), token("<|padding|>")],
        "post_processor": template([], ["<|endoftext|>"]),
    },
    "olmo-2": {
        "pre_tokenizer": one_split(GPT4),
        "last": [token("<|endoftext|>"), *map(token, IM), token("|||PHONE|||", special=False)],
    },
    "phi-2": {
        "pre_tokenizer": byte_level(),
        "last": [
            token("<|endoftext|>"),
            *(token(" " * n, special=False, normalized=True) for n in (6, 5, 4, 3, 2)),
            *(token("\t" * n, special=False, normalized=True) for n in (4, 3, 2)),
        ],
    },
    "phi-4": {"pre_tokenizer": one_split(GPT4), "last": [token(t, rstrip=True) for t in IM]},
    "llama-3": {
        "pre_tokenizer": one_split(GPT4),
        "last": [token("<|begin_of_text|>"), token("<|eot_id|>"), token("<|reserved_0|>")],
        "post_processor": {
            "type": "Sequence",
            "processors": [byte_level(trim_offsets=False), template(["<|begin_of_text|>"])],
        },
        "model": {"ignore_merges": True},
    },
    "llama-4": {
        "pre_tokenizer": one_split(O200K),
        "last": [token("<|begin_of_text|>"), token("<|eot|>")],
        "post_processor": template(["<|begin_of_text|>"]),
    },
    "qwen-2": {
        "normalizer": NFC,
        "pre_tokenizer": one_split(ONE_DIGIT),
        "last": [token("<|endoftext|>"), *map(token, IM), token("<tool_call>", special=False)],
        "post_processor": byte_level(trim_offsets=False, use_regex=False),
        "model": {"continuing_subword_prefix": "", "end_of_word_suffix": ""},
    },
    "qwen-3.5": {
        "normalizer": NFC,
        "pre_tokenizer": one_split(QWEN_3_5),
        "last": [token("<|endoftext|>"), *map(token, IM), token("<think>", special=False)],
        "post_processor": byte_level(trim_offsets=False, use_regex=False),
        "model": {"continuing_subword_prefix": "", "end_of_word_suffix": ""},
    },
    "deepseek-v3": {
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": DEEPSEEK,
        "first": [
            token("<｜begin▁of▁sentence｜>", normalized=True),
            token("<｜end▁of▁sentence｜>", normalized=True),
        ],
        "last": [token("<｜User｜>", special=False), token("<think>", special=False)],
        "post_processor": template(["<｜begin▁of▁sentence｜>"]),
    },
    "deepseek-coder": {
        "pre_tokenizer": row(
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split("[一-龥ࠀ-一가-퟿]+"),
            digits(True),
            byte_level(use_regex=False),
        ),
        "last": [token("<｜end▁of▁sentence｜>"), token("<｜fim▁hole｜>", special=False)],
        "post_processor": template(["<｜end▁of▁sentence｜>"]),
    },
    "deepseek-v2": {
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": row(
            split("[\r\n]"),
            split(rf"\s?[{DEEPSEEK_CASED}]+"),
            split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            split(r"\s+$"),
            split("[一-龥ࠀ-一가-퟿]+"),
            digits(True),
            byte_level(use_regex=False),
        ),
        "first": [token("<｜begin▁of▁sentence｜>", normalized=True)],
        "last": [token("<｜fim▁hole｜>", special=False, normalized=True)],
        "post_processor": byte_level(),
    },
    "minimax": {
        "normalizer": NFC,
        "pre_tokenizer": row(split(O200K, "Removed", invert=True), byte_level(use_regex=False)),
        "last": [token("<end_of_document>"), token("<think>", special=False)],
        "model": {"continuing_subword_prefix": "", "end_of_word_suffix": ""},
    },
    "gpt-oss": {
        "pre_tokenizer": one_split(O200K),
        "last": [token("<|startoftext|>"), token("<|channel|>"), token("<|return|>")],
        "model": {"ignore_merges": True},
    },
    "starcoder": {
        "pre_tokenizer": STARCODER,
        "first": [token("<|endoftext|>"), *map(token, CODE), token("<gh_stars>")],
    },
    "smollm": {
        "pre_tokenizer": STARCODER,
        "first": [token("<|endoftext|>"), *map(token, IM), token("<repo_name>")],
    },
    "granite": {"pre_tokenizer": one_split(GPT4), "first": [token("<|end_of_text|>")]},
    "falcon": {
        "pre_tokenizer": row(
            {"type": "Punctuation", "behavior": "Contiguous"},
            byte_level(),
            digits(False),
            split("[0-9][0-9][0-9]"),
        ),
        "first": [token(">>TITLE<<"), token(">>SUMMARY<<"), token("<|endoftext|>")],
        "post_processor": byte_level(),
    },
    "command-r": {
        "normalizer": NFC,
        "pre_tokenizer": STARCODER,
        "first": [token("<PAD>"), token("<UNK>"), token("<BOS_TOKEN>"), token("<EOS_TOKEN>")],
        "last": [token("<|START_OF_TURN_TOKEN|>", special=False)],
        "post_processor": template(["<BOS_TOKEN>"]),
        "model": {"unk_token": None},
    },
    "bloom": {
        "pre_tokenizer": row(split(BLOOM), byte_level(use_regex=False)),
        "first": [token("<unk>"), token("<s>"), token("</s>"), token("<pad>")],
        "post_processor": byte_level(add_prefix_space=True),
        "model": {"unk_token": "<unk>"},
    },
    "mistral-nemo": {
        "pre_tokenizer": one_split(TEKKEN),
        "first": [token("<unk>"), token("<s>"), token("</s>"), token("[INST]")],
        "post_processor": template(["<s>"]),
        "model": {"ignore_merges": True},
    },
    "glm-4": {
        "pre_tokenizer": one_split(GPT4),
        "last": [token("<|endoftext|>"), token("[gMASK]"), token("<sop>"), token("<|user|>")],
        "post_processor": {
            "type": "Sequence",
            "processors": [byte_level(trim_offsets=False), template(["[gMASK]", "<sop>"])],
        },
        "model": {"ignore_merges": True},
    },
    "kimi-k2": {"pre_tokenizer": one_split(KIMI), "last": [token("[BOS]"), token("[EOS]")]},
    "modernbert": {
        "normalizer": NFC,
        "pre_tokenizer": byte_level(),
        "first": [token("[CLS]"), token("[SEP]"), token("[MASK]", lstrip=True)],
        "last": [*SPACES, token("[unused0]", special=False, normalized=True)],
        "post_processor": template(["[CLS]"], ["[SEP]"]),
    },
    "stablelm-2": {
        "pre_tokenizer": one_split(GPT4.replace("{1,3}", "")),
        "last": [token("<|endoftext|>"), token("<|fim_prefix|>")],
    },
}


@functools.cache
def document(name: str) -> str:
    """A family's tokenizer.json, as `tokenizers` itself saves it."""
    import tokenizers

    family = FAMILIES[name]
    parts = {
        "normalizer": family.get("normalizer"),
        "pre_tokenizer": family["pre_tokenizer"],
        "decoder": byte_level(),
    }
    return trained(
        tokenizers, parts, family.get("first", []), family.get("last", []),
        family.get("post_processor"), family.get("model", {}),
    )  # fmt: skip


def trained(
    tokenizers: Any,
    parts: dict[str, Any],
    first: list[dict[str, Any]],
    last: list[dict[str, Any]],
    post_processor: Any,
    model: dict[str, Any],
    size: int = 420,
) -> str:
    """The file of a vocabulary for these parts, which `tokenizers` trains on generated text."""
    empty = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "post_processor": None, "model": {"type": "BPE", "vocab": {}, "merges": []}, **parts,
    }  # fmt: skip
    library = tokenizers.Tokenizer.from_str(json.dumps(empty))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[tokenizers.AddedToken(**entry) for entry in first],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator([generated_text(3), "the 12345 end  of\n\nit all " * 20], trainer)
    library.add_tokens([tokenizers.AddedToken(**entry) for entry in last])
    data = json.loads(library.to_str())
    data["post_processor"] = _with_ids(post_processor, library)
    data["model"].update(model)
    # Through the library once more: it writes defaults and its own order.
    text: str = tokenizers.Tokenizer.from_str(json.dumps(data)).to_str()
    return text


def _with_ids(part: Any, library: Any) -> Any:
    if part is None:
        return None
    if part["type"] == "Sequence":
        return {**part, "processors": [_with_ids(inner, library) for inner in part["processors"]]}
    if part["type"] == "TemplateProcessing":
        special = {
            name: {"id": name, "ids": [library.token_to_id(name)], "tokens": [name]}
            for name in part["special_tokens"]
        }
        return {**part, "special_tokens": special}
    if part["type"] in ("RobertaProcessing", "BertProcessing"):
        named = {key: [part[key][0], library.token_to_id(part[key][0])] for key in ("sep", "cls")}
        return {**part, **named}
    return part
