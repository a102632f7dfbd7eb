"""Every claim: measured, drawn inside the page, the same again, and documented."""

import pandas as pd
import pytest

from cnnpipe.params.loading import load_params
from cnnpipe.principles.claims import CLAIMS
from cnnpipe.principles.figures import FIGURES
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from tests.helpers.tiny_study import TINY, measured


@pytest.fixture(params=CLAIMS, ids=lambda claim: claim.NAME)
def claim(request):
    return request.param


def test_the_same_seed_gives_the_same_finding(claim):
    first, second = measured(claim), claim.measure(TINY)
    assert first.summary() == second.summary()
    assert first.tables.keys() == second.tables.keys()
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name], check_exact=True)


def test_the_figure_lies_inside_the_page(claim):
    finding = measured(claim)
    figure = FIGURES[claim.NAME](finding.tables, finding.details)
    for line in [line for axes in figure.axes for line in axes.lines if not len(line.get_xdata())]:
        line.remove()  # Matplotlib measures a line without points as a mark at the page's corner
    ink, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert ink.x0 >= 0
    assert ink.y0 >= 0
    assert ink.x1 <= width
    assert ink.y1 <= height


def test_every_claim_has_its_name_figure_and_budget_in_the_same_order():
    names = [claim.NAME for claim in CLAIMS]
    assert names == [claim.__name__.rpartition(".")[2] for claim in CLAIMS]
    assert names == list(FIGURES)
    assert names == list(type(load_params(Params).principles).model_fields)


def test_documentation_names_every_claim():
    text = (ROOT / "docs/principles.md").read_text(encoding="utf-8")
    for claim in CLAIMS:
        assert f"`{claim.NAME}`" in text
