"""A calculator for a model's expressions: a parser of its own, exact, with bounds on everything.

Expressions have numbers, + - * / and parentheses, and besides them 'text'.count('x'). Nothing is
ever evaluated by Python. Arithmetic is exact (fractions); only the result is rounded. The work is
bounded by the expression's length, so that no time limit, and no signal, is needed: it can be
called from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

MAX_LENGTH: Final = 1024
"""Characters of an expression."""
MAX_DEPTH: Final = 64
"""Parentheses and signs within each other."""
DIGITS: Final = 10
"""Digits after the point of a result that is not whole, as GSM8K's authors kept them."""

_MAX_DIGITS: Final = 400
"""Of a result that is whole."""
_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_COUNT: Final = re.compile(
    r"""\s*(?P<q>['"])(?P<text>[^'"\\]*)(?P=q)\s*\.\s*count\s*\(\s*(?P<r>['"])"""
    r"""(?P<what>[^'"\\]*)(?P=r)\s*\)\s*"""
)


class CalculatorError(ValueError):
    """The expression cannot be worked out; the message says why."""


def calculate(expression: str) -> str:
    """The result of an expression, written as GSM8K writes results.

    Commas within numbers are passed over. A whole result has no point; another has up to 10 digits
    after it, without zeros at the end.

    Args:
        expression: Numbers, + - * / ( ), spaces; or 'text'.count('x'), in either quotes, without
            quotes or backslashes within. There is no power (`**`) and no integer division (`//`).

    Raises:
        CalculatorError: Anything else: a character or an order that is not allowed, a division by
            zero, an expression of more than 1,024 characters or 64 levels, a result of more than
            400 digits.
        TypeError: The expression is not a str.
    """
    if not isinstance(expression, str):
        raise TypeError(f"the expression is a {type(expression).__name__}, not a str")
    if len(expression) > MAX_LENGTH:
        raise CalculatorError(
            f"an expression of {len(expression):,} characters; at most {MAX_LENGTH:,} are allowed"
        )
    if match := _COUNT.fullmatch(expression):
        return str(match["text"].count(match["what"]))
    return written(_Parser(expression.replace(",", "")).value())


def written(value: Fraction) -> str:
    """A number as GSM8K writes it: 3 for 3.0, .5 as 0.5, 1/3 as 0.3333333333.

    Raises:
        CalculatorError: It has more than 400 digits before the point.
    """
    if abs(value) >= 10**_MAX_DIGITS:
        raise CalculatorError(f"a result of more than {_MAX_DIGITS} digits")
    scaled = round(value * 10**DIGITS)
    whole, part = divmod(abs(scaled), 10**DIGITS)
    sign = "-" if scaled < 0 else ""
    digits = f"{part:0{DIGITS}d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


class _Parser:
    """Recursive descent: sums of products of signed numbers and parentheses."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def value(self) -> Fraction:
        value = self._sum()
        if self._peek():
            raise self._unexpected()
        return value

    def _sum(self) -> Fraction:
        value = self._product()
        while (sign := self._peek()) in ("+", "-"):
            self._at += 1
            value = value + self._product() if sign == "+" else value - self._product()
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while (sign := self._peek()) in ("*", "/"):
            self._at += 1
            other = self._signed()
            if sign == "*":
                value *= other
            elif other:
                value /= other
            else:
                raise CalculatorError("a division by zero")
        return value

    def _signed(self) -> Fraction:
        sign = self._peek()
        if sign in ("+", "-"):
            value = self._deeper(self._signed)
            return -value if sign == "-" else value
        if sign == "(":
            value = self._deeper(self._sum)
            if self._peek() != ")":
                raise self._unexpected(" where a parenthesis has to be closed")
            self._at += 1
            return value
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            raise self._unexpected()
        self._at = match.end()
        return Fraction(match[0])

    def _deeper(self, read: Callable[[], Fraction]) -> Fraction:
        self._at += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CalculatorError(f"more than {MAX_DEPTH} parentheses or signs within each other")
        value = read()
        self._depth -= 1
        return value

    def _peek(self) -> str:
        """The next character that is not a space; "" at the end."""
        while self._at < len(self._text) and self._text[self._at] == " ":
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _unexpected(self, where: str = "") -> CalculatorError:
        found = self._peek()
        what = f"{found!r} at position {self._at}" if found else "the end"
        return CalculatorError(f"an expression does not go on with {what}{where}")
