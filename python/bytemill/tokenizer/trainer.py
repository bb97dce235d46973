"""`BpeTrainer` and `train_bpe`: training, from documents to a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bytemill import _arguments
from bytemill._types import TieBreak
from bytemill.tokenizer.tokenizer import Tokenizer
from bytemill.tokenizer.vocabulary_trainer import VocabularyTrainer

if TYPE_CHECKING:
    from bytemill.data.documents import Progress
    from bytemill.data.inputs import Paths


class BpeTrainer(VocabularyTrainer):
    r"""Learns byte-level BPE merges (Sennrich et al. 2016, arXiv:1508.07909, over bytes as in
    GPT-2).

    Text is counted with `feed` and `feed_files`, as often as wanted; `train` then learns from the
    counts, as often as wanted. Memory grows with the distinct pretokens, not with the text. The
    result depends on the counts alone: not on threads, on the order of documents or on how they
    came. Several Python threads may use one trainer: each feed is counted, whole; a call waits for
    others where it has to (training for none to add its counts, with `max_chars` a feed for the
    whole of another). Trainers and their counts can be pickled and copied.

        trainer = BpeTrainer(pattern="cl100k", special_tokens=["<|endoftext|>"])
        trainer.feed_files("corpus/")
        small, large = trainer.train(8_192), trainer.train(65_536)

    Args:
        pattern: How text is cut into pretokens, which no token crosses: "gpt2", "cl100k", "o200k",
            "nanochat", or a regex in the syntax of Rust's fancy-regex. Text that a regex does not
            match is left out.
        special_tokens: Strings that separate documents. They are not counted; they get the last
            ids.
        tie_break: Of the pairs with the highest count, which is merged first. "lexicographic": the
            greatest pair of byte strings. "lowest_id": the smallest pair of ids, as in rustbpe.
            "huggingface": the smallest pair of ids as tokenizers' BpeTrainer numbers them.
        doc_cap: Count at most this many characters (code points) of each document.
        max_chars: Count at most this many characters over the trainer's life; later text is
            ignored.
        min_frequency: Pairs that occur less often are never merged.
        max_token_length: Tokens longer than this many bytes are never made.
        superwords_from: From this size of the vocabulary on (bytes and special tokens included)
            merges go across pretokens, so that tokens may span words: SuperBPE, arXiv:2503.13423.
            Up to it they are what training without superwords gives. What is counted, and kept in
            memory, is then spans: nearly all of the text, as few come twice.
        superwords_pattern: What cuts text into spans, whose ends no token crosses; it becomes the
            tokenizer's pattern. With a named `pattern` it may be left out: then a span is a row of
            words and punctuation within a line, and numbers stay alone.
        num_threads: Worker threads; all cores if None.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range, a special token is empty or given twice, the
            pattern is neither a name nor a valid regex, or with `superwords_from` a pattern of
            one's own comes without `superwords_pattern`.
    """

    def train(self, vocab_size: int, *, progress: Progress | None = None) -> Tokenizer:
        """Learns merges from the counts so far.

        Where the pair to merge joins to bytes that are a token already, it is merged into that
        token: no id and no merge is added, and encoding does the same.

        Args:
            vocab_size: The most tokens to have, the 256 bytes and the special tokens included.
            progress: Called a few times a second with the merges learned and the merges wanted.

        Returns:
            A tokenizer of `vocab_size` tokens; of fewer, with a UserWarning, if the pairs run out.

        Raises:
            TypeError: `vocab_size` is not an integer.
            ValueError: `vocab_size` is below 256 plus the number of special tokens, or below
                `superwords_from`.
        """
        vocabulary = self.train_vocabulary(vocab_size, progress=progress, stacklevel=3)
        return Tokenizer.from_vocabulary(vocabulary)


def train_bpe(
    input_path: Paths,
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    tie_break: TieBreak = "lexicographic",
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Trains on files; what `BpeTrainer` does, in one call.

    Args:
        input_path: A path, a folder or a glob, or several; see `BpeTrainer.feed_files`.
        vocab_size: The most tokens to have, the 256 bytes and the special tokens included.
        special_tokens: Strings that separate documents; see `BpeTrainer`.
        pattern: How text is cut into pretokens; see `BpeTrainer`.
        tie_break: Of the pairs with the highest count, which is merged first; see `BpeTrainer`.

    Returns:
        The bytes of each id (0-255 are the bytes, then come the merges in order, then the special
        tokens as given), and the merges in order. Fewer than `vocab_size` ids, with a UserWarning,
        if the text is too little.

    Raises:
        As `BpeTrainer`, `BpeTrainer.feed_files` and `BpeTrainer.train`.
    """
    trainer = VocabularyTrainer(pattern=pattern, special_tokens=special_tokens, tie_break=tie_break)
    # Before the text is read, not after.
    _arguments.check_vocab_size(vocab_size, trainer.special_tokens)
    trainer.feed_files(input_path)
    vocabulary = trainer.train_vocabulary(vocab_size, stacklevel=3)
    return vocabulary.vocab, vocabulary.merges
