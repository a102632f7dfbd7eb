"""The output-size formula, against counted windows and real outputs."""

import math
from fractions import Fraction

import pytest

from cnnpipe.principles import output_size
from cnnpipe.principles.output_size import Case, compare, counted, curves, formula, grid, judge
from tests.helpers.tiny_study import BUDGETS, measured

PARAMS = BUDGETS.output_size


def rounded_up(case: Case) -> int:
    """The formula as it is wrong: it counts a window that hangs over the end."""
    room = case.size + 2 * case.padding - case.dilation * (case.kernel_size - 1) - 1
    return math.ceil(Fraction(room, case.stride) + 1)


@pytest.mark.parametrize(
    ("case", "size"),
    [
        (Case(28, 5, 1, 2, 1), 28),  # LeNet-5's C1
        (Case(28, 2, 2, 0, 1), 14),  # its S2
        (Case(224, 7, 2, 3, 1), 112),  # ⌊(224 + 6 − 6 − 1)/2 + 1⌋ = ⌊112.5⌋
        (Case(7, 3, 1, 0, 3), 1),  # the window spans 7 pixels
        (Case(6, 3, 1, 0, 3), 0),  # and does not fit into 6
        (Case(5, 2, 3, 0, 1), 2),  # windows at 0 and 3
    ],
)
def test_formula_and_count_give_known_sizes(case, size):
    assert formula(case) == size
    assert counted(case) == size


def test_the_claim_holds():
    finding = measured(output_size)
    assert finding.verdict == "verified"
    assert finding.number == 0
    assert finding.interval is None
    table = finding.tables["operators"].set_index("operator")
    assert table.loc["conv2d, direct", "cases"] == len(set(grid(PARAMS))) == 6 * 3 * 2 * 2 * 2
    assert table.loc["conv2d, winograd", "sizes"] == sum(
        min(case.stride, case.size + 2 * case.padding) == 1  # a longer step is never taken
        and (case.dilation == 1 or case.kernel_size == 1)
        and counted(case) > 0
        for case in grid(PARAMS)
    )
    assert (table["refused"] > 0).any()
    assert (table["cases"] == table["sizes"] + table["refused"]).all()


def test_a_formula_that_rounds_up_is_refuted_with_an_example():
    finding = judge(compare(grid(PARAMS), 0, rounded_up), curves(PARAMS), PARAMS)
    assert finding.verdict == "shown not to hold"
    assert finding.number > 0
    assert "the formula gives" in finding.statement


def test_operators_that_confuse_height_and_width_are_refuted(monkeypatch):
    def swapped(images, y, x):
        return operator(images.transpose(2, 3), y, x)

    operator, takes = output_size.operators()["avg_pool2d"]
    monkeypatch.setattr(output_size, "operators", lambda: {"swapped": (swapped, takes)})
    assert compare(grid(PARAMS), 0)["disagree"].item() > 0


def test_figure_has_a_panel_per_argument():
    finding = measured(output_size)
    figure = output_size.CLAIM.draw(finding.tables, finding.details)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        *("kernel size k", "stride", "padding", "dilation")
    ]
