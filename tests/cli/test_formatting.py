"""Figures that the programs print."""

import pytest

from bytemill.cli import formatting


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 3, "0"),
        (0.01234, 3, "0.0123"),
        (12.0, 3, "12"),
        (1234.5, 3, "1,230"),
        (999_999, 4, "1,000,000"),
        (0.999, 2, "1"),
        (1e10, 3, "1e10"),
        (4.51296e12, 4, "4.513e12"),
        (2.5e-7, 3, "2.5e-7"),
        (-1234.5, 2, "-1,200"),
    ],
)
def test_figures_have_so_many_digits(value, digits, text):
    assert formatting.figure(value, digits) == text


def test_counts_have_the_number_of_their_noun():
    assert formatting.count(1, "row") == "1 row"
    assert formatting.count(0, "row") == "0 rows"
    assert formatting.count(2048, "row") == "2,048 rows"
