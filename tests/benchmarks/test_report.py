"""What benchmarks draw: labels that can be read, and axes that say what they are."""

import itertools

import pytest

from benchmarks.measure import Spread
from benchmarks.report import Panel, number, plot

figures = pytest.importorskip("matplotlib.figure")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1724, "0.172"),
        (1.19, "1.19"),
        (41, "41"),
        (99.96, "100"),
        (941.2, "941"),
        (1760, "1,760"),
    ],
)
def test_numbers_have_separators_and_no_exponent(value, text):
    assert number(value) == text


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The figure that `plot` would save."""
    kept = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda figure, path: kept.append(figure))

    def draw(*panels):
        assert plot(tmp_path / "x.png", "title", panels) is None
        figure = kept.pop()
        figure.draw_without_rendering()
        return figure

    return draw


def panel(low, high, n_groups=5, n_series=4):
    """Values near each other, so that labels lie at one height, and one that is far off."""
    values = {
        f"text {g}\n30 MB": {
            f"library {s}": Spread(high - g - s, high - g - s - 1, high - g - s + 1)
            for s in range(n_series)
        }
        for g in range(n_groups)
    }
    values["text 0\n30 MB"]["library 0"] = Spread(low, low, low)
    return Panel("Title", "MB", values)


def test_labels_do_not_collide(drawn):
    figure = drawn(panel(20, 1760), panel(1000, 1760))
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == 20
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)


def test_an_axis_that_is_not_linear_says_so(drawn):
    logarithmic, linear = drawn(panel(20, 1760), panel(1000, 1760)).axes
    assert logarithmic.get_yscale() == "log"
    assert logarithmic.get_ylabel() == "MB, logarithmic axis"
    assert linear.get_yscale() == "linear"
    assert linear.get_ylabel() == "MB"
    assert linear.get_ylim()[0] == 0
    assert "1,000" in [label.get_text() for label in linear.get_yticklabels()]
