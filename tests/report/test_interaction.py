"""The page as a reader uses it: drawing, pointing, keys."""

import re
from functools import partial

import pytest

from cnnpipe.geometry import output_size
from tests.helpers.chromium_page import (
    DESK,
    PHONE,
    ROOT,
    assert_accessible,
    assert_fits,
    expect,
    needs_chromium,
    needs_trained_models,
    opened,
    settle,
    write_page,
    write_untrained_page,
)
from tests.helpers.strokes import PENS, drawings

pytestmark = needs_chromium

SEVEN = [(0.25, 0.2), (0.72, 0.2), (0.45, 0.8)]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return write_untrained_page(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return write_page(ROOT / "reports", ROOT / "data/models", ROOT / "data/raw", to=folder)


@pytest.fixture
def page(browser, untrained):
    with opened(browser, untrained) as page:
        yield page


def part(page, name, section="draw"):
    return page.locator(f"#{section}-app [data-part={name}]")


hand, sandbox = partial(part, section="by-hand"), partial(part, section="sandbox")


def expect_place(page, y, x, size=28):
    """The pixel that is computed by hand; `x` may be a regular expression."""
    place = re.compile(f"^Output pixel in row {y} of {size}, column {x} of {size}$")
    expect(hand(page, "where")).to_have_text(place)


def number(page, name):
    return float(hand(page, name).inner_text().replace("−", "-"))


def pad_place(page, x, y):
    box = part(page, "pad").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def draw(page, points, steps=8):
    """A stroke by the mouse; coordinates in units of the sheet's side."""
    part(page, "pad").scroll_into_view_if_needed()
    page.mouse.move(*pad_place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*pad_place(page, *point), steps=steps)
    page.mouse.up()
    settle(page)


def ink(page):
    """How much ink is on the sheet, in pixels of full ink; read from a copy of the canvas."""
    return part(page, "pad").evaluate(
        """(canvas) => {
          const { width, height } = canvas;
          const copy = Object.assign(document.createElement("canvas"), { width, height });
          const context = copy.getContext("2d", { willReadFrequently: true });
          context.drawImage(canvas, 0, 0);
          const { data } = context.getImageData(0, 0, width, height);
          const [paper, full] = [255, 28]; // of red
          return data.reduce((sum, v, k) => sum + (k % 4 ? 0 : (paper - v) / (paper - full)), 0);
        }"""
    )


def answers(page):
    return page.locator("#draw-app [data-part=class]").all_inner_texts()


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    settle(page)


def click(page, *arguments, **choices):
    """Press a part of a section, `click(page, name, section)`."""
    part(page, *arguments).click(**choices)
    settle(page)


# Drawing


def test_an_empty_sheet_predicts_nothing(page):
    def nothing():
        assert answers(page) == ["–", "–"]
        assert part(page, "confidence").all_inner_texts() == ["no drawing, no answer"] * 2
        assert part(page, "time").all_inner_texts() == ["", ""]
        assert set(page.locator("#draw-app .bars .number").all_inner_texts()) == {"–"}
        assert not page.locator("#draw-app [data-depth=result] canvas").first.is_visible()
        assert part(page, "invitation").is_visible()

    nothing()
    draw(page, SEVEN)
    assert "–" not in answers(page)
    assert all(re.fullmatch(r"(< 1|\d+) ms", t) for t in part(page, "time").all_inner_texts())
    assert page.locator("#draw-app [data-depth=result] canvas").first.is_visible()
    assert not part(page, "invitation").is_visible()
    click(page, "clear")
    nothing()
    expect(part(page, "answers")).to_have_text("The sheet is empty: no prediction.")


def test_undo_takes_back_one_stroke(page):
    draw(page, SEVEN)
    one = ink(page)
    draw(page, [(0.2, 0.5), (0.6, 0.5)])
    assert ink(page) > one > 0
    click(page, "undo")
    assert ink(page) == one
    click(page, "undo")
    assert ink(page) == 0


@pytest.mark.parametrize("pen", PENS)
def test_pens_have_the_width_of_their_label(page, pen):
    page.get_by_label(pen, exact=True).check()
    draw(page, [(0.2, 0.5), (0.8, 0.5)])
    width = PENS[pen] * 336
    # A bar of 0.6 sheets with half a disc at each end.
    assert ink(page) == pytest.approx(0.6 * 336 * width + 3.14 * (width / 2) ** 2, rel=0.03)


def point(page, kind, x, y, **properties):
    """A pointer event on the sheet, as the browser would send it."""
    left, top = pad_place(page, x, y)
    part(page, "pad").evaluate(
        """(canvas, [kind, properties, coalesced]) => {
          const event = (each) => new PointerEvent(kind, { bubbles: true, button: 0, ...each });
          const capture = canvas.setPointerCapture;
          canvas.setPointerCapture = () => {}; // there is no such pointer to capture
          const coalescedEvents = coalesced.map((each) => event({ ...properties, ...each }));
          canvas.dispatchEvent(event({ ...properties, coalescedEvents }));
          canvas.setPointerCapture = capture;
        }""",
        [
            kind,
            {"clientX": left, "clientY": top, "isPrimary": True, "pointerId": 7} | properties,
            properties.pop("coalesced", []),
        ],
    )


def test_a_pen_draws_thinner_with_less_pressure(page):
    inks = []
    for pressure in (1.0, 0.2):
        click(page, "clear")
        pen = {"pointerType": "pen", "pressure": pressure}
        for kind, x in (("pointerdown", 0.2), ("pointermove", 0.8), ("pointerup", 0.8)):
            point(page, kind, x, 0.5, **pen)
        settle(page)
        inks.append(ink(page))
    # Width goes with ½ + ½ · pressure.
    assert inks[1] / inks[0] == pytest.approx(0.6, abs=0.03)


def test_movements_between_two_frames_are_all_drawn(page):
    point(page, "pointerdown", 0.2, 0.2)
    (x0, y0), (x1, y1) = pad_place(page, 0.5, 0.8), pad_place(page, 0.8, 0.2)
    between = [{"clientX": x0, "clientY": y0}, {"clientX": x1, "clientY": y1}]
    point(page, "pointermove", 0.8, 0.2, coalesced=between)
    point(page, "pointerup", 0.8, 0.2)
    settle(page)
    # A V of two sides of 0.671 sheets, not the straight line of 0.6 between its ends.
    assert ink(page) > 1.1 * 336**2 * 0.08


def test_a_second_finger_or_palm_does_not_draw(page):
    point(page, "pointerdown", 0.2, 0.5, pointerType="touch")
    settle(page)
    dot = ink(page)
    point(page, "pointerdown", 0.8, 0.8, pointerType="touch", pointerId=8, isPrimary=False)
    point(page, "pointermove", 0.8, 0.2, pointerType="touch", pointerId=8, isPrimary=False)
    settle(page)
    assert ink(page) == dot > 0


def test_a_finger_draws_and_does_not_scroll(browser, untrained):
    with opened(browser, untrained, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        assert part(page, "pad").evaluate("(c) => getComputedStyle(c).touchAction") == "none"
        part(page, "pad").scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        session = page.context.new_cdp_session(page)
        for kind, places in (
            ("touchStart", [(0.3, 0.2)]),
            *(("touchMove", [(0.3, 0.2 + step / 20)]) for step in range(1, 12)),
            ("touchEnd", []),
        ):
            touches = [dict(zip("xy", pad_place(page, *place), strict=True)) for place in places]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        settle(page)
        assert ink(page) > 336**2 * 0.5 * 0.08
        assert page.evaluate("scrollY") == before


def test_the_keyboard_draws_with_a_pen_that_is_seen(page):
    part(page, "clear").focus()
    press(page, "Shift+Tab", "Shift+Tab")
    expect(part(page, "pad")).to_be_focused()

    def cursor():
        return part(page, "overlay").evaluate(
            """(canvas) => {
              const empty = document.createElement("canvas");
              [empty.width, empty.height] = [canvas.width, canvas.height];
              return canvas.toDataURL() !== empty.toDataURL();
            }"""
        )

    settle(page)
    assert cursor()
    press(page, "Shift+ArrowUp")
    assert ink(page) == 0
    press(page, "Space")
    expect(part(page, "status")).to_have_text("Pen down.")
    press(page, *["Shift+ArrowRight"] * 6, "ArrowDown")
    drawn = ink(page)
    assert drawn == pytest.approx(6 / 14 * 336 * 27 + 3.14 * 13.4**2, rel=0.1)
    press(page, "Space")
    expect(part(page, "status")).to_have_text("Pen up.")
    press(page, "Shift+ArrowDown")
    assert ink(page) == drawn
    press(page, "Backspace")
    assert ink(page) == 0
    press(page, "Tab")
    assert not cursor()


def test_a_test_image_goes_in_as_it_is_until_it_is_drawn_on(page):
    button = part(page, "presets").locator("button").nth(3)
    button.click()
    settle(page)
    index = int(button.get_attribute("value"))
    expected = page.evaluate(
        """(index) => {
          const { pixels } = cnnpipe.digits.images.find((image) => image.index === index);
          const run = (model) => cnnpipe.network.run(model, pixels);
          return cnnpipe.models.map((model) => String(run(model).prediction));
        }""",
        index,
    )
    assert answers(page) == expected
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(part(page, "seenFacts")).to_have_text(re.compile(f"^Test image {index}, labelled"))
    draw(page, SEVEN)
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(part(page, "seenFacts")).to_have_text(re.compile("^Cropped to"))
    click(page, "undo")
    assert answers(page) == expected


def test_preprocessing_is_a_visible_switch(page):
    draw(page, [(0.1, 0.1), (0.2, 0.3)])
    picture = "(canvas) => canvas.toDataURL()"
    with_it = part(page, "seen").evaluate(picture)
    expected = r"^Cropped to \d+×\d+ of 336×336, scaled to [\d.]+×20, and moved by"
    expect(part(page, "seenFacts")).to_have_text(re.compile(expected))
    page.get_by_label("Preprocess as MNIST was").uncheck()
    settle(page)
    expect(part(page, "seenFacts")).to_have_text("The whole sheet, made 28×28.")
    assert part(page, "seen").evaluate(picture) != with_it


def test_going_back_to_the_page_resets_its_controls(page):
    page.get_by_label("Every step").check()
    sandbox(page, "stride").fill("2")
    hand(page, "model").select_option("1")
    page.goto("data:text/html,elsewhere")
    page.go_back()
    expect(page.get_by_label("Every step")).not_to_be_checked()
    expect(sandbox(page, "stride")).to_have_value("1")
    expect(hand(page, "model")).to_have_value("0")


def test_probabilities_are_a_table_that_sums_to_one(page):
    draw(page, SEVEN)
    for k in range(2):
        rows = part(page, f"answer{k}").locator("tbody tr")
        assert rows.count() == 10
        widths = rows.locator(".fill").evaluate_all(
            "(fills) => fills.map((f) => parseFloat(f.style.width))"
        )
        assert sum(widths) == pytest.approx(100, abs=0.01)
        leading = rows.locator("xpath=self::*[contains(@class, 'first')]/th").inner_text()
        assert leading == answers(page)[k]


def test_every_step_is_shown_on_request(page):
    draw(page, SEVEN)
    shown = page.locator("#draw-app .layer:visible h4")
    expect(shown).to_have_count(7 + 7)
    page.get_by_label("Every step").check()
    settle(page)
    expect(shown).to_have_count(11 + 14)
    canvases = page.locator("#draw-app .layer:visible canvas")
    labels = canvases.evaluate_all("(all) => all.map((each) => each.getAttribute('aria-label'))")
    assert labels[0].startswith("c1: 6 maps of 28×28 on a scale from −")
    assert labels[10].startswith("output: 10 neurons, on a scale from")
    assert all(box["width"] <= 860 for box in (canvas.bounding_box() for canvas in canvases.all()))


def test_a_clicked_map_is_computed_by_hand_in_the_other_section(page):
    draw(page, SEVEN)
    block = page.locator("[data-part=maps0] .layer", has_text="c3_act")
    block.scroll_into_view_if_needed()
    # Maps of 10×10 with 6 screen pixels to each of theirs, 2 apart: map 1, row 3, column 4.
    place = {"x": 2 + 62 + 4 * 6 + 3, "y": 2 + 3 * 6 + 3}
    canvas = block.locator("canvas")
    canvas.hover(position=place)
    value = block.locator(".value")
    expect(value).to_have_text(re.compile("^map 1, row 3, column 4: "))
    shown = value.inner_text()
    canvas.click(position=place)
    settle(page)
    expect(hand(page, "image")).to_have_value("drawing")
    expect(hand(page, "layer").locator("option:checked")).to_have_text(re.compile("^c3:"))
    expect(hand(page, "channel")).to_have_value("1")
    expect_place(page, 3, 4, size=10)
    assert shown.endswith(": " + hand(page, "activationValue").inner_text())


def test_a_clicked_neuron_without_convolution_changes_nothing(page):
    draw(page, SEVEN)
    before = page.evaluate("scrollY"), hand(page, "layer").input_value()
    block = page.locator("[data-part=maps0] .layer", has_text="f6_act")
    assert block.get_attribute("data-takes-apart") is None
    box = block.locator("canvas").evaluate(
        "e => ((b) => [b.left, b.top])(e.getBoundingClientRect())"
    )
    at = {"clientX": box[0] + 30, "clientY": box[1] + 8}
    block.locator("canvas").dispatch_event("click", at)
    settle(page)
    assert (page.evaluate("scrollY"), hand(page, "layer").input_value()) == before


def test_the_drawing_can_be_computed_by_hand_while_it_exists(page):
    image = hand(page, "image")
    drawing = image.locator("option[value=drawing]")
    expect(drawing).to_have_count(0)
    draw(page, SEVEN)
    expect(drawing).to_have_text("Your drawing")
    expect(image).not_to_have_value("drawing")
    choose(page, image="drawing")
    hover(page, "sum", 8, 14, (28, 28))  # on the bar of the seven
    before = numbers(page, "patch")
    assert max(before) > 1
    draw(page, [(0.1, 0.9), (0.9, 0.9)])
    assert numbers(page, "patch") != before
    click(page, "clear")
    expect(drawing).to_have_count(0)


@needs_trained_models
def test_a_drawn_seven_is_a_seven(browser, trained):
    with opened(browser, trained) as page:
        draw(page, SEVEN)
        assert answers(page) == ["7", "7"]
        spoken = re.compile(r"^LeNet-5: 7, [><\d. ]+%\. VGG: 7, [><\d. ]+%\.$")
        expect(part(page, "answers")).to_have_text(spoken)


@needs_trained_models
def test_drawings_that_no_network_was_trained_on_are_recognised(browser, trained):
    drawn = drawings(copies=2, seed=1)
    assert len(drawn) >= 200
    with opened(browser, trained) as page:
        predictions = page.evaluate(
            """(drawn) => drawn.map(({ strokes }) => {
              const sheet = cnnpipe.ink.sheet();
              for (const stroke of strokes) cnnpipe.ink.draw(sheet, stroke);
              const { pixels } = cnnpipe.digit.prepare(sheet, cnnpipe.ink.SIDE, true);
              return cnnpipe.models.map((model) => cnnpipe.network.run(model, pixels).prediction);
            })""",
            drawn,
        )
    for k in range(2):
        wrong = [
            (drawing["digit"], drawing["style"], drawing["size"], drawing["pen"], answer[k])
            for drawing, answer in zip(drawn, predictions, strict=True)
            if answer[k] != drawing["digit"]
        ]
        assert len(wrong) <= 0.05 * len(drawn), wrong


@needs_trained_models
def test_drawings_by_the_mouse_are_recognised(browser, trained):
    """The way of the reader's hand: through pointer events, the sheet and the section itself."""
    wanted = {"size": "medium", "pen": "medium", "style": 0}
    chosen = [
        drawing for drawing in drawings(copies=1, seed=2) if wanted.items() <= drawing.items()
    ]
    with opened(browser, trained) as page:
        wrong = []
        for drawing in chosen:
            click(page, "clear")
            for stroke in drawing["strokes"]:
                draw(page, [(point["x"], point["y"]) for point in stroke["points"][::4]], steps=1)
            if answers(page) != [str(drawing["digit"])] * 2:
                wrong.append((drawing["digit"], drawing["style"], answers(page)))
    assert len(chosen) == 10
    assert len(wrong) <= 1, wrong


@needs_trained_models
def test_the_page_measures_its_own_difference_from_pytorch(browser, trained):
    with opened(browser, trained) as page:
        note = part(page, "agreement")
        expect(note).to_contain_text("Measured in this browser")
        differences = re.findall(r"weights\) ([\d.]+)·10⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", note.inner_text())
        assert len(differences) == 2
        assert all(power in "⁵⁶⁷⁸⁹" for _, power in differences)


# Convolution by hand


def numbers(page, grid, section="by-hand"):
    """All digits of a grid's cells, row by row."""
    cells = part(page, grid, section).locator("td")
    return [float(title) for title in cells.evaluate_all("(cells) => cells.map((c) => c.title)")]


def choose(page, **choices):
    for name, value in choices.items():
        hand(page, name).select_option(value)
    settle(page)


def hover(page, plane, y, x, size):
    point_at(page, plane, y, x, size)
    settle(page)


def point_at(page, plane, y, x, size):
    canvas = hand(page, f"{plane}Plane")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    height, width = size
    page.mouse.move(
        box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"]
    )


def map_value(page, model, layer, channel, y, x):
    image = int(hand(page, "image").input_value())
    return page.evaluate(
        """([m, name, channel, place, index]) => {
          const model = cnnpipe.models[m];
          const { pixels } = cnnpipe.digits.images.find((image) => image.index === index);
          const { outputs } = cnnpipe.network.run(model, pixels);
          const k = model.layers.findIndex((layer) => layer.name === name);
          return cnnpipe.convolution.pixel(outputs[k], channel, place);
        }""",
        [model, layer, channel, {"y": y, "x": x}, image],
    )


@pytest.mark.parametrize(
    ("model", "layer", "size", "channel", "y", "x"),
    [
        (0, "c1", 28, 2, 0, 0),  # a corner: most of the patch is padding
        (0, "c1", 28, 5, 13, 9),
        (0, "c3", 10, 15, 9, 4),
        (0, "c5", 1, 77, 0, 0),
        (1, "block1_conv1", 28, 4, 27, 27),
        (1, "block1_conv2", 28, 0, 14, 12),
        (1, "block2_conv1", 14, 3, 6, 13),
    ],
)
def test_hovering_shows_products_that_sum_to_the_maps_value(
    page, model, layer, size, channel, y, x
):
    choose(page, model=str(model))
    option = hand(page, "layer").locator("option", has_text=f"{layer}:")
    choose(page, layer=option.get_attribute("value"))
    choose(page, channel=str(channel))
    hover(page, "sum", y, x, (size, size))
    expect_place(page, y, x, size)

    inputs = (
        hand(page, "inChannel")
        .locator("option:not([value=strongest])")
        .evaluate_all("(options) => options.map((each) => each.value)")
    )
    total = 0.0
    for value in inputs:
        if len(inputs) > 1:
            choose(page, inChannel=value)
        patch, kernel, products = (numbers(page, g) for g in ("patch", "kernel", "products"))
        assert products == [pytest.approx(p * k) for p, k in zip(patch, kernel, strict=True)]
        total += sum(products)
        assert number(page, "chosenValue") == pytest.approx(sum(products), abs=0.006)
    bias = page.evaluate(
        """([m, name, channel]) => cnnpipe.models[m].layers
             .find((layer) => layer.name === name).bias?.values[channel] ?? 0""",
        [model, layer, channel],
    )
    value = map_value(page, model, layer, channel, y, x)
    assert total + bias == pytest.approx(value, abs=1e-5)
    assert number(page, "biasValue") == pytest.approx(value, abs=0.006)


def test_steps_after_the_sum_are_those_of_the_network(page):
    choose(page, model="1")
    choose(page, layer="3")  # block1_conv2, with norm, ReLU and pooling behind it
    hover(page, "sum", 11, 16, (28, 28))
    for step, layer, place in (
        ("norm", "block1_norm2", (11, 16)),
        ("activation", "block1_relu2", (11, 16)),
        ("pool", "block1_pool", (5, 8)),
    ):
        expected = map_value(page, 1, layer, 0, *place)
        assert number(page, f"{step}Value") == pytest.approx(expected, abs=0.006)
    window = numbers(page, "poolWindow")
    assert max(window) == pytest.approx(map_value(page, 1, "block1_pool", 0, 5, 8), abs=1e-6)
    strong = hand(page, "poolWindow").locator(".strong")
    assert float(strong.get_attribute("title")) == max(window)


def test_layers_without_a_step_do_not_show_it(page):
    for step, model, layer, there in (
        ("norm", "0", "0", False),
        ("pool", "0", "0", True),
        ("pool", "0", "6", False),
        ("norm", "1", "0", True),
        ("pool", "1", "0", False),
    ):
        choose(page, model=model)
        choose(page, layer=layer)
        for name in (f"{step}Step", f"{step}Figure"):
            expect(hand(page, name)).to_be_visible(visible=there)


def test_the_pixel_keeps_its_place_in_the_image_when_the_layer_changes(page):
    expect_place(page, 14, 14)
    choose(page, layer="3")  # c3, half as large and without padding
    expect_place(page, 5, 5, size=10)


def test_arrow_keys_move_the_pixel_and_stop_at_the_edge(page):
    hand(page, "sumPlane").focus()
    for key, place in (
        ("Home", (14, 0)),
        ("ArrowLeft", (14, 0)),
        ("ArrowRight", (14, 1)),
        ("PageDown", (27, 1)),
        ("ArrowDown", (27, 1)),
        ("ArrowUp", (26, 1)),
        ("End", (26, 27)),
        ("PageUp", (0, 27)),
    ):
        press(page, key)
        expect_place(page, *place)
    said = re.compile("^Output pixel in row 0 of 28, column 27 of 28: ")
    expect(hand(page, "status")).to_have_text(said)


@pytest.mark.parametrize(
    ("plane", "size", "pointed", "place"),
    [
        ("input", (32, 32), (12, 20), (10, 18)),  # with 2 pixels of padding around 28
        ("activation", (28, 28), (3, 4), (3, 4)),
        ("pool", (14, 14), (3, 4), (6, 8)),
    ],
)
def test_every_plane_can_be_pointed_at(page, plane, size, pointed, place):
    hover(page, plane, *pointed, size)
    expect_place(page, *place)


@pytest.fixture
def stopped(browser, untrained):
    """The page, whose time passes only when a test says so."""
    with opened(browser, untrained, stopped=True) as page:
        yield page


def test_the_sweep_walks_pauses_and_goes_on(stopped):
    button = hand(stopped, "sweep")
    expect(button).to_have_text("Sweep")
    button.click()
    expect(button).to_have_text("Pause")
    # A pixel each 12,000 / 28² = 15.3 ms: 26 in this time, give or take a frame.
    stopped.clock.run_for(400)
    expect_place(stopped, 0, "2[3-6]")
    button.click()
    expect(button).to_have_text("Go on")
    stopped.clock.run_for(100)
    paused = hand(stopped, "where").inner_text()
    stopped.clock.run_for(1000)
    expect(hand(stopped, "where")).to_have_text(paused)
    button.click()
    stopped.clock.run_for(400)
    expect_place(stopped, 1, "2[0-5]")
    point_at(stopped, "sum", 5, 5, (28, 28))
    expect(button).to_have_text("Sweep")
    stopped.clock.run_for(1000)
    expect_place(stopped, 5, 5)


def test_the_sweep_ends_at_the_last_pixel(stopped):
    button = hand(stopped, "sweep")
    button.click()
    stopped.clock.fast_forward(11_000)
    expect(button).to_have_text("Pause")
    stopped.clock.run_for(1100)
    expect(button).to_have_text("Sweep")
    expect_place(stopped, 27, 27)


def test_nothing_moves_by_itself_for_readers_who_asked_for_that(browser, untrained):
    with opened(browser, untrained, stopped=True, reduced_motion="reduce") as page:
        button = hand(page, "sweep")
        expect(button).to_have_text("Next pixel")
        for column in range(3):
            button.click()
            page.clock.run_for(1000)
            expect_place(page, 0, column)


# The sandbox


def slide(page, **values):
    for name, value in values.items():
        sandbox(page, name).fill(str(value))
    settle(page)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 4, 2), (4, 2, 4), (1, 1, 3)]
)
def test_the_output_size_formula_is_filled_in_live(page, stride, padding, dilation):
    slide(page, stride=stride, padding=padding, dilation=dilation)
    size = output_size(14, 3, stride, padding, dilation)
    expect(sandbox(page, "formula")).to_have_text(
        f"output = ⌊(14 + 2·{padding} − {dilation}·(3 − 1) − 1) / {stride}⌋ + 1 = {size}"
    )
    expect(sandbox(page, "verdict")).to_contain_text(f": {size}×{size} outputs")
    sandbox(page, "outputPlane").focus()
    press(page, "End", "PageDown")
    last = f"Output pixel in row {size - 1}, column {size - 1}"
    expect(sandbox(page, "where")).to_have_text(last)


def test_a_kernel_that_does_not_fit_is_reported(page):
    sandbox(page, "preset").select_option("wide")
    slide(page, padding=0, dilation=4)
    expect(sandbox(page, "formula")).to_have_text(re.compile("= no output$"))
    expected = "The kernel spans 17 pixels, and with padding there are only 14: it does not fit."
    expect(sandbox(page, "verdict")).to_have_text(expected)
    expect(sandbox(page, "outputPlane")).to_be_hidden()
    slide(page, dilation=3)
    expect(sandbox(page, "outputPlane")).to_be_visible()


@pytest.mark.parametrize(("entry", "centre"), [("2.5", 2.5), ("", None), ("1e39", None)])
def test_the_sandbox_computes_with_the_readers_own_kernel_within_its_limits(page, entry, centre):
    sandbox(page, "pattern").select_option("point")
    sandbox(page, "preset").select_option("identity")
    expect(sandbox(page, "sum")).to_have_text("1.00")  # the bright pixel is at 6, 6
    field = sandbox(page, "kernel").get_by_label("Kernel, row 1, column 1")
    field.fill(entry)
    settle(page)
    expect(sandbox(page, "sum")).to_have_text(f"{centre or 1:.2f}")
    expect(sandbox(page, "preset")).to_have_value("own" if centre else "identity")
    assert field.evaluate("field => field.matches(':invalid')") == (centre is None)
    assert sum(numbers(page, "products", "sandbox")) == (centre or 1)


def test_the_sandbox_sweeps_over_its_output(stopped):
    button = sandbox(stopped, "sweep")
    sandbox(stopped, "stride").fill("4")  # 4×4 outputs, 0.4 seconds each
    button.click()
    stopped.clock.run_for(2200)
    expect(sandbox(stopped, "where")).to_have_text("Output pixel in row 1, column 0")  # the fifth
    button.click()
    expect(button).to_have_text("Go on")
    sandbox(stopped, "stride").fill("2")
    expect(button).to_have_text("Sweep")


# Everybody


def test_the_keyboard_alone_reaches_every_control(page):
    draw(page, SEVEN)
    expected = page.evaluate(
        """() => {
          const sections = "#draw, #by-hand";
          const reachable = "button, select, input, summary, a[href], [tabindex='0']";
          const all = [...document.querySelectorAll(sections)]
            .flatMap((section) => [...section.querySelectorAll(reachable)])
            .filter((element) => element.checkVisibility({ visibilityProperty: true }))
            .filter(({ type, checked }) => type !== "radio" || checked); // arrows reach the others
          all.forEach((element, k) => (element.dataset.tab = String(k)));
          return all.length;
        }"""
    )
    assert expected > 40
    page.evaluate("document.querySelector('nav a').focus()")
    reached = set()
    for _ in range(expected + 60):
        page.keyboard.press("Tab")
        tab = page.evaluate("document.activeElement.dataset.tab")
        if tab is not None:
            reached.add(int(tab))
            width = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert width != "none", "focus must be seen"
    assert reached == set(range(expected))


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_sections_are_no_wider_than_the_screen(browser, untrained, viewport):
    with opened(browser, untrained, viewport=viewport) as page:
        draw(page, SEVEN)
        page.get_by_label("Every step").check()
        choose(page, layer="3")
        hand(page, "allSums").locator("summary").click()
        expect(hand(page, "sumsTable").locator("tbody tr")).to_have_count(6)
        sandbox(page, "preset").select_option("wide")
        settle(page)
        assert_fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser, untrained, scheme):
    with opened(browser, untrained, color_scheme=scheme) as page:
        draw(page, SEVEN)
        choose(page, layer="3")
        for section in ("#draw", "#by-hand"):
            assert_accessible(page, context=section)


def test_without_javascript_one_pixel_is_worked_out_and_the_rest_is_named(browser, untrained):
    with opened(browser, untrained, java_script_enabled=False) as page:
        for section in ("draw", "by-hand"):
            assert "needs JavaScript" in page.locator(f"#{section} .missing").first.inner_text()
            assert not page.locator(f"#{section}-app").is_visible()
        assert page.locator("#by-hand .formula").first.is_visible()
        grids = page.locator("#by-hand noscript table").all()
        patch, kernel, products = (
            [float(text.replace("−", "-")) for text in grid.locator("td").all_inner_texts()]
            for grid in grids
        )
        # Each number has three significant digits.
        expected = [pytest.approx(p * k, rel=0.02) for p, k in zip(patch, kernel, strict=True)]
        assert products == expected
        assert "The products sum to" in page.locator("#by-hand noscript").first.inner_text()
