"""Spelling words, and counting their letters: generated, seeded, endless."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import Final

from bytemill.chat.conversation import Conversation, Message, Part
from bytemill.data import iter_documents
from bytemill.tasks.task import Item, Task, checked_size, known_content
from bytemill.tasks.wordings import CLAUSES, NOUNS, ORDERS, QUESTIONS, distinct, framed
from bytemill.tools.calculator import calculate

_SPELL: Final = (
    "Spell the word '{word}'.",
    "How do you spell '{word}'?",
    "Please spell '{word}' for me.",
    "Can you spell '{word}'?",
    "spell '{word}'",
    "Spell out '{word}', letter by letter.",
    "What are the letters of '{word}'?",
    "Write '{word}' one letter at a time.",
    "Take '{word}' apart into its letters.",
    "I want to know how '{word}' is spelled.",
    "What is the spelling of '{word}'?",
    "Give me the letters in '{word}'.",
    "List the letters of the word '{word}'.",
    "Which letters make up '{word}'?",
    "Could you spell the word '{word}' please?",
    "'{word}': how is it spelled?",
    "Show me '{word}' letter by letter.",
    "Tell me the spelling of '{word}'.",
    "'{word}', letter by letter.",
    "'{word}' in letters, please.",
    "'{word}': which letters are these?",
    "The letters of '{word}'?",
    "The word is '{word}'. Spell it.",
    "Here is a word: '{word}'. What are its letters?",
    "My word is '{word}'. How is it written?",
    "Do you know how to spell '{word}'?",
    "Would you spell '{word}'?",
    "Will you please spell out the word '{word}'?",
    "How is '{word}' written?",
    "How would I write '{word}', one letter after the other?",
    "Write out '{word}' with hyphens between the letters.",
    "Put a hyphen between the letters of '{word}'.",
    "Separate the letters of '{word}'.",
    "Split '{word}' up, letter for letter.",
    "Divide the word '{word}' into letters.",
    "Cut '{word}' into its letters.",
    "Dictate '{word}' to me letter by letter.",
    "Read me the letters of '{word}'.",
    "Say '{word}' letter by letter.",
    "Name every letter of '{word}'.",
    "Enumerate the letters in '{word}'.",
    "Let me see the letters of '{word}'.",
    "Let us spell '{word}'.",
    "I cannot spell '{word}'. Can you?",
    "I forgot the spelling of the word '{word}'.",
    "I would like to see '{word}' spelled out.",
    "Hello, please spell '{word}'.",
    "Now '{word}', spelled out.",
    "One by one, what are the letters in '{word}'?",
    "Starting with the first, give the letters of '{word}'.",
)
SPELL: Final = distinct(
    _SPELL,
    framed(
        ORDERS,
        (
            "spell '{word}'",
            "spell the word '{word}'",
            "spell out '{word}'",
            "spell '{word}' letter by letter",
            "write '{word}' letter by letter",
            "write out '{word}' with hyphens",
            "list the letters of '{word}'",
            "name all letters of '{word}'",
            "say the letters of the word '{word}'",
            "split '{word}' into letters",
            "separate the letters of '{word}'",
            "take the word '{word}' apart",
            "put hyphens into '{word}'",
            "show the letters in '{word}'",
            "read out '{word}' one letter at a time",
            "turn '{word}' into a row of letters",
        ),
    ),
    framed(
        NOUNS,
        (
            "the spelling of '{word}'",
            "the letters of '{word}'",
            "the letters in the word '{word}'",
            "all letters of '{word}'",
            "every letter in '{word}'",
            "the word '{word}', spelled out",
            "'{word}' with hyphens",
            "'{word}', one letter after the other",
        ),
    ),
    framed(
        CLAUSES,
        (
            "how to spell '{word}'",
            "how '{word}' is spelled",
            "how the word '{word}' is written",
            "how one writes '{word}'",
            "what the letters of '{word}' are",
            "which letters '{word}' is made of",
        ),
    ),
    framed(
        QUESTIONS,
        (
            "how do you spell '{word}'",
            "how is '{word}' spelled",
            "how do people write '{word}'",
            "what are the letters of '{word}'",
            "which letters are in '{word}'",
            "what is '{word}' letter by letter",
        ),
    ),
)
"""Wordings to train on."""
SPELL_HELD_OUT: Final = (
    "Break '{word}' into single letters.",
    "Help me spell '{word}', please.",
    "What letters does '{word}' have, in order?",
    "Spelling of '{word}'?",
)
"""Wordings never to be trained on."""
_COUNT: Final = (
    "How many '{letter}' are in '{word}'?",
    "How often does '{letter}' occur in '{word}'?",
    "Count the letter '{letter}' in '{word}'.",
    "How many times is '{letter}' in the word '{word}'?",
    "count '{letter}' in '{word}'",
    "What is the number of '{letter}' in '{word}'?",
    "Please count how many '{letter}' the word '{word}' has.",
    "Can you count the '{letter}' in '{word}'?",
    "In '{word}', how many '{letter}' are there?",
    "How many letters '{letter}' does '{word}' have?",
    "Tell me how many '{letter}' are in '{word}'.",
    "I need the count of '{letter}' in '{word}'.",
    "How many times do you see '{letter}' in '{word}'?",
    "Number of '{letter}' in '{word}'?",
    "The word '{word}' has how many '{letter}'?",
    "How many '{letter}' does it take to write '{word}'?",
    "Look at '{word}'. How many '{letter}' are there?",
    "Say how often '{letter}' stands in '{word}'.",
    "'{word}': how many '{letter}'?",
    "'{word}', how often '{letter}'?",
    "The word is '{word}'. How many times does it have '{letter}'?",
    "Here is a word: '{word}'. Count its '{letter}'.",
    "Take '{word}' and count '{letter}' in it.",
    "How often do I write '{letter}' when I write '{word}'?",
    "How many of the letters in '{word}' are '{letter}'?",
    "How many '{letter}' has '{word}'?",
    "Do you know how many '{letter}' there are in '{word}'?",
    "Could you count the letter '{letter}' in the word '{word}'?",
    "What is the count of '{letter}' in the word '{word}'?",
    "I want to know how often '{word}' has the letter '{letter}'.",
    "Hello, how many '{letter}' are there in '{word}'?",
    "For the word '{word}', what is the number of letters '{letter}'?",
)
COUNT: Final = distinct(
    _COUNT,
    framed(
        ORDERS,
        (
            "count '{letter}' in '{word}'",
            "count the '{letter}' in '{word}'",
            "count the letter '{letter}' in the word '{word}'",
            "count every '{letter}' of '{word}'",
            "count how many '{letter}' '{word}' has",
            "count how often '{letter}' is in '{word}'",
            "work out how many '{letter}' are in '{word}'",
            "look at '{word}' and count '{letter}'",
            "go through '{word}' and count the letter '{letter}'",
            "say how many '{letter}' are in the word '{word}'",
            "look how often '{word}' has '{letter}'",
            "take '{word}' and say how many '{letter}' are there",
        ),
    ),
    framed(
        NOUNS,
        (
            "the number of '{letter}' in '{word}'",
            "the count of '{letter}' in '{word}'",
            "the number of times '{letter}' is in '{word}'",
            "a count of '{letter}' in the word '{word}'",
            "the amount of letters '{letter}' in '{word}'",
        ),
    ),
    framed(
        CLAUSES,
        (
            "how many '{letter}' are in '{word}'",
            "how many '{letter}' there are in the word '{word}'",
            "how often '{letter}' occurs in '{word}'",
            "how often '{word}' has the letter '{letter}'",
            "how many times '{letter}' stands in '{word}'",
            "what the number of '{letter}' in '{word}' is",
        ),
    ),
    framed(
        QUESTIONS,
        (
            "how many '{letter}' are in '{word}'",
            "how many '{letter}' are there in the word '{word}'",
            "how often is '{letter}' in '{word}'",
            "how many times is the letter '{letter}' in '{word}'",
            "what is the number of '{letter}' in '{word}'",
            "in the word '{word}', how many are '{letter}'",
        ),
    ),
)
"""Wordings to train on."""
COUNT_HELD_OUT: Final = (
    "How many '{letter}' can you find in '{word}'?",
    "Find the number of letters '{letter}' in '{word}'.",
    "Does '{word}' have any '{letter}', and how many?",
    "Give me the count of the letter '{letter}' in '{word}'.",
)
"""Wordings never to be trained on."""

_WORD: Final = re.compile(r"[a-z]{3,12}")


def words_of(texts: Sequence[str]) -> list[str]:
    """The words of 3 to 12 small letters in texts, each once, the most frequent first."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in re.findall(r"(?<![\w'’])[a-z]+(?![\w'’])", text):
            if _WORD.fullmatch(word):
                counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], word))


def default_words(tokens: Iterable[bytes]) -> list[str]:
    """The words among a tokenizer's tokens, to be used where no text is given."""
    return words_of([" ".join(token.decode(errors="replace").strip() for token in tokens)])


def words_in(path: str, most: int = 10_000_000) -> list[str]:
    """The words of text files, as `words_of` finds them.

    Args:
        path: A file, a folder or a glob of text, as `bytemill.data.iter_documents` reads it.
        most: How many characters are looked at, the first ones.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file cannot be read as text; or there is no such word in it.
    """
    read, texts = 0, []
    for text in iter_documents(path, doc_cap=most):
        texts.append(text)
        read += len(text)
        if read >= most:
            break
    found = words_of(texts)
    if not found:
        raise ValueError(f"{path}: there is no word of 3 to 12 small letters in it")
    return found


class _Words(Task):
    def __init__(self, words: Sequence[str], wordings: Sequence[str], size: int, seed: int) -> None:
        bad = [word for word in words if not word.isalpha()]
        if bad or not words:
            raise ValueError(
                f"words: {bad[0]!r} is not letters only" if bad else "words: there are none"
            )
        self._words, self._wordings, self._size, self._seed = (
            words,
            wordings,
            checked_size(size),
            seed,
        )

    def __len__(self) -> int:
        """As many as were asked for."""
        return self._size

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By what decides items."""
        return known_content(self, [self._words, self._wordings, self._seed], indices)

    def _random(self, index: int) -> random.Random:
        return random.Random(f"{self.name} {self._seed} {index}")


class Spelling(_Words):
    """Asks for the letters of a word; the answer has them between hyphens, such as c-a-t.

    Args:
        words: What to ask for; those to be tried on are best kept out of those to train on.
        wordings: Of the question, with {word}.
        size: How many items there are.
        seed: Item i depends on it and on i alone.

    Raises:
        ValueError: There is no word, or one is not letters only.
    """

    name = "spelling"

    def __init__(
        self,
        words: Sequence[str],
        wordings: Sequence[str] = SPELL,
        size: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        super().__init__(words, wordings, size, seed)

    def item(self, index: int) -> Item:
        """A word to spell."""
        r = self._random(index)
        word = r.choice(self._words)
        asked = r.choice(self._wordings).format(word=word)
        spelled = "-".join(word)
        reply = Message("assistant", spelled)
        return Item(Conversation((Message("user", asked), reply)), spelled)

    def judge(self, item: Item, reply: Message) -> float:
        """1 if the letters are in the reply, in order, between hyphens, and nothing else is."""
        return float(reply.text.strip().rstrip(".") == item.answer)


class Counting(_Words):
    """Asks how often a letter is in a word; the answer calls the tool: 'word'.count('x').

    Args:
        words: As in `Spelling`.
        wordings: Of the question, with {word} and {letter}.
        size: How many items there are.
        seed: Item i depends on it and on i alone.

    Raises:
        ValueError: There is no word, or one is not letters only.
    """

    name = "counting"

    def __init__(
        self,
        words: Sequence[str],
        wordings: Sequence[str] = COUNT,
        size: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        super().__init__(words, wordings, size, seed)

    def item(self, index: int) -> Item:
        """A word and a letter, which is in the word nine times of ten."""
        r = self._random(index)
        word = r.choice(self._words)
        letter = r.choice(word) if r.random() < 0.9 else r.choice("abcdefghijklmnopqrstuvwxyz")
        asked = r.choice(self._wordings).format(word=word, letter=letter)
        expression = f"'{word}'.count('{letter}')"
        result = calculate(expression)
        parts = (
            Part("python", expression),
            Part("python_output", result),
            Part("text", f"The letter '{letter}' is in '{word}' {result} times."),
        )
        return Item(Conversation((Message("user", asked), Message("assistant", parts))), result)

    def judge(self, item: Item, reply: Message) -> float:
        """1 if the last number in the text is the right one."""
        numbers = re.findall(r"\d+", reply.text)
        return float(bool(numbers) and numbers[-1] == item.answer)
