"""The page's state in its address: what a copied link, a reload, back and forward bring back."""

import pytest

from tests.helpers.chromium_page import (
    expect,
    needs_chromium,
    opened,
    settle,
    write_untrained_page,
)

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_untrained_page(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(browser, file):
    """One page for all tests, each of which goes to an address first."""
    with opened(browser, file) as page:
        yield page


def go(page, anchor):
    page.evaluate("(hash) => { location.hash = hash; }", anchor)
    settle(page)


def values(page):
    return page.evaluate("cnnpipe.state.get()")


def set_state(page, patch, push=False):
    page.evaluate("([patch, push]) => cnnpipe.state.set(patch, { push })", [patch, push])


def expect_address(page, file, hash_):
    """What the page keeps in its address, a quarter of a second after a change."""
    expect(page).to_have_url(file.as_uri() + hash_)


SHOWN = {
    "image": 7,
    "network": "vgg",
    "layer": "block1_conv1",
    "map": 3,
    "pixel": [4, 27],
    "silenced": ["lenet5.c1_act.3", "vgg.hidden_relu.11"],
    "distortion": {"rotation": -12.5, "noise": 0.2},
}


def test_a_copied_link_and_a_reload_bring_everything_back(browser, file, page):
    go(page, "?")
    set_state(page, SHOWN)
    copied = (
        "#?image=7&network=vgg&layer=block1_conv1&map=3&pixel=4,27"
        "&silenced=lenet5.c1_act.3,vgg.hidden_relu.11&distortion=rotation:-12.5,noise:0.2"
    )
    expect_address(page, file, copied)
    with opened(browser, file) as other:
        other.goto(file.as_uri() + copied)
        other.reload()
        assert {name: values(other)[name] for name in SHOWN} == SHOWN


def test_strokes_come_back_bit_for_bit(page):
    drawn, read, text = page.evaluate(
        """() => {
          const points = [[0, 1, 1], [0.1234, 0.7, 0.31], [1, 0.5, 0]];
          const snapped = points.map(([x, y, pressure]) => cnnpipe.ink.snap({ x, y, pressure }));
          const strokes = [0.045, 0.08, 0.12].map((width) => ({ points: snapped, width }));
          const text = cnnpipe.ink.encode(strokes);
          return [strokes, cnnpipe.ink.decode(text), text];
        }"""
    )
    assert drawn == read
    assert len(text) == 3 * (2 + 3 * 5) + 2  # two letters a stroke, five a point, and the dots


@pytest.mark.parametrize(
    ("broken", "name", "value"),
    [
        ("?pixel=3", "pixel", None),
        ("?image=seven", "image", None),
        ("?strokes=%3Cscript%3E", "strokes", []),
        ("?distortion=noise:x", "distortion", {}),
        ("?distortion=blur:1e6", "distortion", {}),
        ("?distortion=right:1.5", "distortion", {}),
        ("?distortion=toString:1", "distortion", {}),
        ("?map=0.3", "map", None),
        ("?unknown=1&map=2", "map", 2),
        ("?toString=1&constructor=1&map=5", "map", 5),
    ],
)
def test_what_no_page_wrote_is_left_out(page, broken, name, value):
    go(page, broken)
    assert values(page)[name] == value
    assert "unknown" not in values(page)


@pytest.mark.parametrize("end", ["min", "max"])
def test_every_setting_of_a_slider_is_read(page, end):
    sliders = page.locator("#break-app input[type=range]")
    ends = dict(sliders.evaluate_all(f"(all) => all.map((each) => [each.name, +each.{end}])"))
    assert len(ends) == 8
    go(page, "?distortion=" + ",".join(f"{name}:{value}" for name, value in ends.items()))
    assert values(page)["distortion"] == ends


def test_an_anchor_leaves_the_state_and_the_state_the_anchor(page, file):
    go(page, "?layer=c3")
    go(page, "results")
    assert values(page)["layer"] == "c3"
    expect_address(page, file, "#results?layer=c3")
    set_state(page, {"map": 1})
    expect_address(page, file, "#results?layer=c3&map=1")
    assert page.evaluate("cnnpipe.state.anchor()") == "results"


def test_back_undoes_a_step_and_keeps_what_was_drawn(page, file):
    go(page, "?")
    set_state(page, {"image": 1})
    set_state(page, {"layer": "c1_act"}, push=True)
    set_state(page, {"map": 4}, push=True)
    set_state(page, {"image": 2})
    for layer, map_ in (("c1_act", None), ("", None)):
        page.go_back()
        assert (values(page)["layer"], values(page)["map"]) == (layer, map_)
        assert values(page)["image"] == 2
    page.go_forward()
    assert values(page)["layer"] == "c1_act"
    expect_address(page, file, "#?image=2&layer=c1_act")


def test_listeners_hear_what_changed_and_nothing_else(page):
    go(page, "?layer=c1_act")
    heard = page.evaluate(
        """() => {
          const heard = [];
          cnnpipe.state.watch((values, changed) => heard.push([values.map, ...changed]));
          cnnpipe.state.set({ layer: "c1_act", silenced: [], pixel: null });
          cnnpipe.state.set({ layer: "c1_act", map: 2 });
          return heard;
        }"""
    )
    assert heard == [[2, "map"]]
