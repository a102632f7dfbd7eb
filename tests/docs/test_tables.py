"""The pages: numbers that `make docs` writes, links that lead somewhere, an example that runs."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from scripts import tables
from scripts.tables import MARKED, PAGES, TEXTS, filled
from tests.helpers.project import ROOT
from tests.helpers.written_reports import rungs

CALLS = [(page, found[2]) for page in PAGES for found in MARKED.finditer(page.read_text("utf-8"))]
per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def committed_results():
    """Skips where a run has changed the results: its numbers are not those of the pages."""
    changed = subprocess.run(
        ["git", "status", "--porcelain", "reports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if changed.returncode or changed.stdout:
        pytest.skip("reports/ differs from the commit; `make docs` would write other numbers")


@per_page
@pytest.mark.usefixtures("committed_results")
def test_numbers_are_those_of_the_committed_results(page):
    text = page.read_text("utf-8")
    assert filled(text) == text, "run `make docs`"


def test_a_number_edited_by_hand_is_replaced():
    page = "It has <!-- results: verified cases -->12<!-- end --> cases, and 12 apples.\n"
    assert re.fullmatch(r"It has .*-->\d{3,}<!-- end --> cases, and 12 apples\.\n", filled(page))


def test_a_table_keeps_its_markers_on_lines_of_their_own():
    begin, table, end = re.split(
        r"(?<=-->)\n|\n(?=<!-- end)", filled("<!-- results: race -->\nold\n<!-- end -->")
    )
    assert (begin, end) == ("<!-- results: race -->", "<!-- end -->")
    assert table.startswith("| target |")


def test_the_ladder_has_a_row_for_each_rung_and_the_peak(monkeypatch):
    monkeypatch.setattr(tables, "load", lambda file: {"layers": rungs()})
    header, _, *rows = filled("<!-- results: rungs -->\nold\n<!-- end -->").splitlines()[1:-1]
    assert {line.count("|") for line in (header, *rows)} == {8}
    assert [row.split(" | ")[0] for row in rows] == [
        *("| formula", "| compiled loops", "| vendor", "| peak")
    ]


def test_the_full_budget_has_a_row_for_each_claim_once_it_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    page = "<!-- results: replications -->\nold\n<!-- end -->"
    assert "Not measured yet: `make claims`" in filled(page)
    verdicts = ["shown", "not decided", "shown"]
    found = [
        {"sharing": {"verdict": verdict, "number": number, "interval": [0.5, 4.0]}}
        for verdict, number in zip(verdicts, (2.0, 1.5, 2.5), strict=True)
    ]
    row = {"verdicts": verdicts, "flips": False, "covered": 5, "replicated": 6, "pairs": 6}
    machine = {"processor": "Example", "threads": 2, "torch": "2.14.1+cpu", "python": "3.11.7"}
    facts = {"date": "2026-01-31", "dataset": "mnist", "machine": machine}
    facts |= {"replication": {"sharing": row}, "seeds": dict(enumerate(found))}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/claims.json").write_text(json.dumps(facts))
    text = filled(page)
    assert "Measured on 2026-01-31 with MNIST on Example, 2 threads, torch 2.14.1" in text
    verdict = "**shown** 2×, **not decided** 1×"
    assert f"| `sharing` | {verdict} | 2 (0.5 to 4) | 1.5, 2.5 | 5 of 6 |" in text
    assert "0 verdicts flipped" in text
    assert "intervals cover 83.3" in text


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError, match="raec"):
        filled("<!-- results: raec -->\n<!-- end -->")


def test_every_text_stands_on_a_page():
    assert {call.split()[0] for _, call in CALLS} == set(TEXTS)


@per_page
def test_every_marker_has_its_end(page):
    text = page.read_text("utf-8")
    assert text.count("<!-- results:") == text.count("<!-- end -->") == len(MARKED.findall(text))


@per_page
def test_no_marker_turns_a_line_of_text_into_html(page):
    # A line of Markdown that begins with a comment is taken as HTML up to its end.
    for line in page.read_text("utf-8").splitlines():
        if line.lstrip(" -").startswith("<!--"):
            assert re.fullmatch(r"<!-- [^>]+ -->", line), line


@per_page
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)#\s]*(?:#[^)\s]*)?)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.M) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
        assert not anchor or anchor in anchors, target


def test_contributing_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:cnnpipe|stages|tests|scripts|torture)/[^`<>]*)`", text)
    paths = [path for path in named if "NAME" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_contributing_quotes_the_rules_for_imports():
    rules = (ROOT / "pyproject.toml").read_text("utf-8").partition("[[tool.importlinter.con")[2]
    assert rules.strip() in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
