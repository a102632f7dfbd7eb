"""The ladder's numbers follow from the times, and a rung that was not measured is left out."""

import pytest

from cnnpipe.findings import ladder
from tests.helpers.written_reports import rungs


def cells_of(layers):
    return [
        [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in ladder.cells(layers)
    ]


def test_cells_worked_by_hand():
    # 10⁸ operations in 10, 2 and 1 ms
    formula, loops, vendor, peak = cells_of(rungs(peak=500.0))
    assert formula == ["formula", "direct", *["10", "2 %"] * 2, ladder.RUNGS[0].change]
    assert loops[:-1] == ["compiled loops", "compiled", *["50", "10 %"] * 2]
    assert vendor[2:-1] == ["100", "20 %"] * 2
    assert peak[2:-1] == ["500", "100 %"] * 2


def test_phases_have_their_own_columns():
    forward, training = rungs()
    cells = cells_of([training | {"flops": 300_000_000}, forward])
    assert cells[0][2:-1] == ["10", "5 %", "30", "15 %"]


def test_without_a_peak_there_is_no_share():
    cells = cells_of(rungs(peak=None))
    assert [row[0] for row in cells] == ["formula", "compiled loops", "vendor"]
    assert {share for row in cells for share in row[3:6:2]} == {"–"}


def test_a_quartile_of_the_time_is_one_of_the_speed():
    layer = rungs()[0]
    assert ladder.gflops(layer, "direct", "high") == pytest.approx(10 / 1.2)
