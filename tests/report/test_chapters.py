"""What the chapters tell is taken from the code and the results, and can be tried."""

import inspect
from types import SimpleNamespace

import pytest

from cnnpipe.functional import direct
from cnnpipe.inspection.structure import layers_of
from cnnpipe.models import build_model
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.report.architecture import layer_rows
from cnnpipe.report.code import quoted
from tests.helpers.chromium_page import (
    assert_accessible,
    assert_fits,
    expect,
    needs_chromium,
    opened,
    write_untrained_page,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_untrained_page(tmp_path_factory.mktemp("page"))


@pytest.mark.parametrize("name", ["forward", "weight_gradient", "input_gradient"])
def test_quoted_code_is_the_code_that_runs(name):
    function = getattr(direct, name)
    runs = inspect.getsource(function).strip()
    before, _, after = runs.partition(f'    """{function.__doc__}"""\n')
    assert quoted(name) == before + after


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_receptive_fields_are_those_of_the_networks(name):
    layers = layers_of(build_model(name))
    evaluation = {"layers": [layer.summary() for layer in layers]}
    for layer, row in zip(layers, layer_rows(SimpleNamespace(evaluation=evaluation)), strict=True):
        if row.is_local:
            seen = layer.field
            found = (row.field.size, row.field.jump, row.start)
            assert found == (seen.size, seen.jump, seen.start)


@needs_chromium
def test_a_convolution_is_explained_by_things_to_press(browser, file):
    with opened(browser, file, viewport={"width": 390, "height": 844}) as page:
        page.evaluate("location.hash = '#locality'")
        kernel = page.locator("#correlation .equation:visible .grid").nth(1)
        expect(kernel.locator("td").first).to_have_text("1")
        page.get_by_label("Flip the kernel").check()
        expect(kernel.locator("td").first).to_have_text("9")

        neurons = page.locator(".fields[data-model=lenet5]")
        neurons.locator("select").select_option(label="s2: 14×14 neurons, each sees 6×6 pixels")
        neurons.get_by_role("application").press("Home")
        neurons.get_by_role("application").press("ArrowRight")
        # fields of s2 begin two pixels apart, the first one in the padding of c1: −2, 0, …
        expect(neurons.get_by_role("status")).to_have_text(
            "The neuron in row 7, column 1 sees rows 12–17, columns 0–5."
        )
        assert_fits(page)
        assert_accessible(page)


@needs_chromium
def test_a_link_asks_for_the_presentation_and_back_leaves_it(browser, file):
    with opened(browser, file) as page:
        prose, button = page.locator(".lead"), page.get_by_role("button", name="Present")
        button.click()
        expect(prose).to_be_hidden()
        link = page.url
        page.go_back()
        expect(prose).to_be_visible()
        page.goto(link)
        page.reload()
        expect(prose).to_be_hidden()
        expect(button).to_have_attribute("aria-pressed", "true")
