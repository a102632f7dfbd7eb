"""Every claim: measured, drawn inside the page, the same again, and documented."""

import pandas as pd
import pytest

from cnnpipe.params.loading import load_params
from cnnpipe.principles.claims import EXPERIMENTS
from cnnpipe.principles.parallel import measure_all
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from tests.helpers.tiny_study import TINY, measured

NAMES = [experiment.CLAIM.name for experiment in EXPERIMENTS]
every_claim = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)


def test_the_same_seed_gives_the_same_findings_in_other_processes():
    again = {finding.name: finding for finding in measure_all(TINY, processes=2)}
    assert sorted(again) == sorted(NAMES)
    for experiment in EXPERIMENTS:
        first, second = measured(experiment), again[experiment.CLAIM.name]
        assert first.summary() == second.summary()
        assert first.tables.keys() == second.tables.keys()
        for name, table in first.tables.items():
            pd.testing.assert_frame_equal(table, second.tables[name], check_exact=True)


@every_claim
def test_the_figure_lies_inside_the_page(experiment):
    finding = measured(experiment)
    figure = experiment.CLAIM.draw(finding.tables, finding.details)
    for line in [line for axes in figure.axes for line in axes.lines if not len(line.get_xdata())]:
        line.remove()  # Matplotlib measures a line without points as a mark at the page's corner
    ink, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(ink.x0, ink.y0) >= 0
    assert ink.x1 <= width
    assert ink.y1 <= height


def test_every_claim_has_its_module_figure_and_budget_in_the_same_order():
    modules = [experiment.__name__ for experiment in EXPERIMENTS]
    assert modules == [f"cnnpipe.principles.{name}" for name in NAMES]
    figures = [experiment.CLAIM.draw.__module__ for experiment in EXPERIMENTS]
    assert figures == [f"cnnpipe.principles.figures.{name}" for name in NAMES]
    assert list(type(load_params(Params).principles).model_fields) == NAMES


def test_documentation_names_every_claim():
    text = (ROOT / "docs/principles.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []
