"""Many wordings out of few phrases: a phrase in every frame that its grammar fits.

What a question is about must be told from the phrase, since the same frames stand around those of
every task. A small model that has seen each phrase in one frame only tells tasks apart by frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ORDERS: Final = (
    "{Phrase}.",
    "{Phrase}",
    "{phrase}",
    "{Phrase}!",
    "Please {phrase}.",
    "{Phrase}, please.",
    "Can you {phrase}?",
    "Could you {phrase}?",
    "Would you {phrase}?",
    "Will you {phrase}?",
    "Can you please {phrase}?",
    "Could you please {phrase}?",
    "I want you to {phrase}.",
    "I would like you to {phrase}.",
    "I need you to {phrase}.",
    "Now {phrase}.",
    "Next, {phrase}.",
    "Hello, {phrase}.",
    "Hi, please {phrase}.",
    "Hey, can you {phrase}?",
    "Go ahead and {phrase}.",
    "Try to {phrase}.",
    "Your task: {phrase}.",
    "{Phrase}. Thanks!",
    "I wonder if you can {phrase}.",
    "Are you able to {phrase}?",
    "Is it possible for you to {phrase}?",
    "Let us {phrase}.",
    "You are asked to {phrase}.",
    "First of all, {phrase}.",
    "Here is my request: {phrase}.",
    "How would you {phrase}?",
)
"""Around what somebody is to do: spell 'cat'."""
NOUNS: Final = (
    "{Phrase}?",
    "{Phrase}.",
    "{phrase}",
    "{Phrase}, please.",
    "Tell me {phrase}.",
    "Show me {phrase}.",
    "I need {phrase}.",
    "I need to know {phrase}.",
    "I would like to see {phrase}.",
    "Please write down {phrase}.",
    "Write {phrase}.",
    "State {phrase}.",
    "Please say {phrase}.",
    "Do you know {phrase}?",
    "Let me have {phrase}.",
    "Can you show me {phrase}?",
    "I am looking for {phrase}.",
    "I want {phrase}.",
    "Hello, I would like {phrase}.",
    "My question is about {phrase}.",
    "Answer with {phrase}.",
)
"""Around what somebody is to be given: the letters of 'cat'."""
CLAUSES: Final = (
    "Tell me {phrase}.",
    "Please tell me {phrase}.",
    "I want to know {phrase}.",
    "I would like to know {phrase}.",
    "Do you know {phrase}?",
    "Can you say {phrase}?",
    "Say {phrase}.",
    "I wonder {phrase}.",
    "Let me know {phrase}.",
    "Show me {phrase}.",
    "I forgot {phrase}.",
    "My friend asks {phrase}.",
    "I am not sure {phrase}.",
    "Would you know {phrase}?",
    "Explain {phrase}.",
)
"""Around what somebody wants to know: how 'cat' is spelled."""
QUESTIONS: Final = (
    "{Phrase}?",
    "{phrase}",
    "Hello, {phrase}?",
    "Now {phrase}?",
    "I have a question: {phrase}?",
    "Question: {phrase}",
    "Quick, {phrase}?",
    "And {phrase}?",
    "So {phrase}?",
    "{Phrase}? Thanks!",
)
"""Around a question: what is the spelling of 'cat'."""


def framed(frames: Sequence[str], phrases: Sequence[str]) -> tuple[str, ...]:
    """Every phrase in every frame.

    Args:
        frames: Each with {phrase}, or {Phrase} where it begins a sentence.
        phrases: As in the midst of a sentence.
    """
    return tuple(
        frame.replace("{phrase}", phrase).replace("{Phrase}", phrase[0].upper() + phrase[1:])
        for phrase in phrases
        for frame in frames
    )


def distinct(*groups: Sequence[str]) -> tuple[str, ...]:
    """The wordings of all groups, each once."""
    return tuple(dict.fromkeys(wording for group in groups for wording in group))
