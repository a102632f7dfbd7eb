"""The page in a real browser: opened from disk, with the network off, on a desk and on a phone."""

import shutil
from pathlib import Path

import pytest
from test_report import page_of, write_reports

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = write_reports(tmp_path_factory.mktemp("reports"), dataset="digits")
    path = folder / "index.html"
    path.write_text(page_of(folder), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser, file):
    """Open the page; fail afterwards if it asked for anything or complained."""
    contexts, complaints = [], []

    def open_page(**options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == file.as_uri() or request.url.startswith("data:")
                else complaints.append(request.url)
            ),
        )
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_opens_complete_and_no_wider_than_the_screen(visit, viewport, scheme):
    page = visit(viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 26)"}[scheme]


def test_opened_details_fit_a_phone_too(visit):
    page = visit(viewport=PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_page_needs_no_javascript(visit):
    page = visit(viewport=DESK, java_script_enabled=False)
    assert page.locator("h1").is_visible()
    details = page.locator("figcaption details").first
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("table").is_visible()


def test_keyboard_starts_at_the_skip_link_and_opens_tables(visit):
    page = visit(viewport=DESK)
    page.keyboard.press("Tab")
    assert page.locator(".skip").evaluate("link => link === document.activeElement")
    assert page.locator(".skip").bounding_box()["x"] >= 0
    summary = page.locator("figcaption summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("figcaption details table").first.is_visible()


def test_banner_is_the_first_thing_to_read(visit):
    page = visit(viewport=PHONE)
    banner = page.get_by_role("complementary", name="About the data set")
    assert banner.bounding_box()["y"] == 0
    assert "not MNIST" in banner.inner_text()


def test_print_shows_figures_and_hides_navigation(visit):
    page = visit(viewport=DESK)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("figure").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_no_violation(visit, scheme, viewport):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(viewport=viewport, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_scale_of_kernels_is_switched_without_javascript(visit):
    page = visit(viewport=DESK, java_script_enabled=False)
    scales = page.locator("fieldset.scales").first
    shared, own = scales.locator(".plate.shared"), scales.locator(".plate.own")
    assert (shared.is_visible(), own.is_visible()) == (True, False)
    scales.get_by_label("each filter its own").focus()
    page.keyboard.press("Space")
    assert (shared.is_visible(), own.is_visible()) == (False, True)
    page.keyboard.press("ArrowLeft")
    assert (shared.is_visible(), own.is_visible()) == (True, False)


def test_paper_shows_what_a_screen_folds_away(visit):
    page = visit(viewport=DESK)
    table = page.locator("figcaption details table").first
    assert not table.is_visible()
    page.emulate_media(media="print")
    assert table.is_visible()
    assert not page.locator(".scales label").first.is_visible()
