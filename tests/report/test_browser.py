"""The page in a real browser: opened from disk, with the network off, on a desk and on a phone."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.chromium_page import (
    DESK,
    PHONE,
    assert_accessible,
    assert_fits,
    expect,
    needs_chromium,
    opened,
)
from tests.helpers.written_reports import WIDE, page_of, write_reports

pytestmark = needs_chromium


SMALLEST_TEXT = """() => Math.min(...[...document.querySelectorAll("main :not(option)")]
  .filter((element) => element.checkVisibility() && !element.closest("svg"))
  .filter(({ childNodes }) => [...childNodes].some(({ data }) => data?.trim()))
  .map((element) => parseFloat(getComputedStyle(element).fontSize)))"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = write_reports(tmp_path_factory.mktemp("reports"), dataset="digits", size=WIDE)
    path = folder / "index.html"
    path.write_text(page_of(folder), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser, file):
    """Open the page; fail afterwards if it asked for anything or complained."""
    with ExitStack() as pages:
        yield lambda **options: pages.enter_context(opened(browser, file, **options))


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_page_opens_complete_accessible_and_no_wider_than_the_screen(visit, viewport):
    page = visit(viewport=viewport)
    assert_fits(page)
    banner = page.get_by_role("complementary", name="About the data set")
    assert banner.bounding_box()["y"] == 0, "it is the first thing to read"
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    for scheme, ground in (("dark", "rgb(17, 21, 26)"), ("light", "rgb(255, 255, 255)")):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    for chapter in page.locator(".top nav a").all():
        chapter.click()
        assert_fits(page)
        assert_accessible(page)
        assert page.evaluate(SMALLEST_TEXT) >= 11  # pixels


def test_an_address_opens_its_chapter_and_back_returns(visit):
    page = visit(viewport=DESK)
    claim, sheet = page.locator("#claim-locality"), page.locator("#draw")
    expect(claim).to_be_hidden()
    page.evaluate("location.hash = '#claim-locality'")
    expect(claim).to_be_in_viewport()
    expect(page.locator(".top nav a[aria-current]")).to_have_text("Appendix")
    expect(sheet).to_be_hidden()
    page.go_back()
    expect(sheet).to_be_visible()
    expect(claim).to_be_hidden()


def test_an_address_that_is_no_text_keeps_the_search_and_the_figures_alive(browser, file):
    with opened(browser, file) as page:
        page.goto(f"{file.as_uri()}#%")
        page.reload()
        expect(page.get_by_role("searchbox")).to_be_visible()
        expect(page.locator("#draw")).to_be_visible()
        page.evaluate("location.hash = '#results'")
        expect(page.locator("#results .plate[role=button]").first).to_be_visible()


def test_the_search_finds_headings_and_claims_by_keyboard(visit):
    page = visit(viewport=DESK)
    field = page.get_by_role("searchbox")
    field.fill("sees patch")
    field.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#claim-locality")).to_be_in_viewport()
    field.fill("no such thing")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    field.press("Escape")
    expect(page.get_by_text("Nothing found")).to_be_hidden()


def test_page_needs_no_javascript(visit):
    page = visit(viewport=DESK, java_script_enabled=False)
    for section in page.locator("h1, main section").all():
        expect(section).to_be_visible()
    details = page.locator("figcaption details").first
    expect(details.locator("table")).to_be_hidden()
    details.locator("summary").click()
    expect(details.locator("table")).to_be_visible()


def test_keyboard_starts_at_the_skip_link_and_opens_tables(visit):
    page = visit(viewport=DESK)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.evaluate("location.hash = '#learned'")
    summary = page.locator("#learned figcaption summary").first
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#learned figcaption details table").first).to_be_visible()


def test_paper_shows_the_open_chapter_with_tables_closed_and_no_navigation(visit):
    page = visit(viewport=DESK)
    page.evaluate("location.hash = '#learned'")
    page.emulate_media(media="print")
    expect(page.locator("#learned figure").first).to_be_visible()
    for hidden in ("#learned figcaption table", "#appendix", "nav"):
        expect(page.locator(hidden).first).to_be_hidden()


def test_all_chapters_fit_on_25_pages_of_paper(visit):
    page = visit(viewport=DESK)
    pages = 0
    for chapter in ("start", "convolution", "networks", "learned", "appendix"):
        page.evaluate(f"location.hash = '#{chapter}'")
        expect(page.locator(f"#{chapter}")).to_be_visible()
        pages += len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert 5 < pages <= 25


def test_a_figure_is_enlarged_by_a_press_and_by_keys(visit):
    page = visit(viewport=DESK)
    page.evaluate("location.hash = '#results'")
    plate, enlarged = page.locator("#results .plate").first, page.get_by_role("dialog")
    for press in (plate.click, lambda: plate.press("Enter")):
        press()
        expect(enlarged.get_by_role("img")).to_be_visible()
        page.keyboard.press("Escape")
        expect(enlarged).to_be_hidden()


def test_the_tab_key_stops_at_tables_only_where_they_scroll(visit):
    stops = "[...document.querySelectorAll('#reproduce [tabindex]')].length"
    for viewport, some in ((DESK, False), (PHONE, True)):
        page = visit(viewport=viewport)
        page.evaluate("location.hash = '#reproduce'")
        page.wait_for_function(f"({stops} > 0) === {str(some).lower()}")
