"""The page as a reader uses it: drawing, pointing, keys."""

import re

import numpy as np
import pytest
from PIL import Image

from cnnpipe.geometry import output_size
from cnnpipe.predict import see
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
    some_test_images,
    write_page,
    write_untrained_page,
)
from tests.helpers.no_digits import no_digits
from tests.helpers.strokes import ALLOGRAPHS, DRAWN_BY, PENS, drawings
from tests.helpers.written_reports import Document

pytestmark = needs_chromium

SEVEN = [(0.25, 0.2), (0.72, 0.2), (0.45, 0.8)]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return write_untrained_page(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return write_page(ROOT / "reports", ROOT / "data/models", ROOT / "data/raw", to=folder)


@pytest.fixture(scope="module")
def trained_page(browser, trained):
    """One page for all tests, each of which clears the sheet or leaves it alone."""
    with opened(browser, trained) as page:
        yield page


@pytest.fixture
def page(browser, untrained):
    with opened(browser, untrained) as page:
        yield page


@pytest.fixture(scope="module")
def opened_once(browser, untrained):
    with opened(browser, untrained) as page:
        yield page


@pytest.fixture
def shared(opened_once):
    """A page for tests that go to a place and look: at the whole network, with the first image."""
    opened_once.mouse.move(0, 0)
    place = {"network": "", "layer": "", "map": None, "pixel": None, "term": None}
    image = opened_once.evaluate("cnnpipe.digits.images[0].index")
    zoom(opened_once, image=image, strokes=[], ink=False, silenced=[], **place)
    return opened_once


def part(page, name, section="draw"):
    return page.locator(f"#{section}-app [data-part={name}]")


def sandbox(page, name):
    """A part of the sandbox, whose chapter is opened."""
    if "#by-hand" not in page.url:
        page.evaluate("location.hash = '#by-hand'")
    return part(page, name, section="sandbox")


def hand(page, name):
    """A part of the view in which one map of a convolution is computed."""
    return part(page, "handView").locator(f"[data-part={name}]")


def zoom(page, **place):
    """Go into the network as an address does."""
    page.evaluate("(place) => cnnpipe.state.set(place)", place)
    settle(page)


def trail(page):
    """Where the reader is, from the whole network on."""
    return [text.strip() for text in part(page, "trail").locator("> *").all_inner_texts()]


def expect_place(page, y, x, size=28):
    """The pixel that is computed by hand; `x` may be a regular expression."""
    place = re.compile(f"^Row {y} of {size}, column {x} of {size}(, the strongest)?$")
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


def test_the_page_begins_with_a_digit_that_gives_way_to_the_first_touch(page):
    assert answers(page) != ["–", "–"]
    expect(part(page, "invitation")).to_be_visible()
    assert page.evaluate("cnnpipe.state.get().strokes.length") == 0, "it is nobody's drawing"
    draw(page, [(0.2, 0.1), (0.8, 0.1)])
    expect(part(page, "invitation")).to_be_hidden()
    assert ink(page) < 336**2 * 0.7 * 0.08, "the line alone"
    click(page, "undo")
    assert ink(page) == 0


def test_an_empty_sheet_predicts_nothing(page):
    def nothing():
        assert answers(page) == ["–", "–"]
        assert part(page, "confidence").all_inner_texts() == ["no drawing, no answer"] * 2
        assert part(page, "time").all_inner_texts() == ["", ""]
        assert set(page.locator("#draw-app .bars .number").all_inner_texts()) == {"–"}
        assert part(page, "stillEmpty").is_visible()
        assert part(page, "invitation").is_visible()

    click(page, "clear")
    nothing()
    draw(page, SEVEN)
    assert "–" not in answers(page)
    assert all(re.fullmatch(r"(< 1|\d+) ms", t) for t in part(page, "time").all_inner_texts())
    assert not part(page, "stillEmpty").is_visible()
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
    click(page, "clear")
    assert ink(page) == 0
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
    click(page, "clear")
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
    expect(part(page, "penStatus")).to_have_text("Pen down.")
    press(page, *["Shift+ArrowRight"] * 6, "ArrowDown")
    drawn = ink(page)
    assert drawn == pytest.approx(6 / 14 * 336 * 27 + 3.14 * 13.4**2, rel=0.1)
    press(page, "Space")
    expect(part(page, "penStatus")).to_have_text("Pen up.")
    press(page, "Shift+ArrowDown")
    assert ink(page) == drawn
    press(page, "Backspace")
    assert ink(page) == 0
    press(page, "Tab")
    assert not cursor()


def test_a_test_image_goes_in_as_it_is_and_strokes_on_it_stay_in_its_pixels(page):
    zoom(page, layer="input")
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
    expect(part(page, "imageFacts")).to_have_text(re.compile(f"^Test image {index}, labelled"))
    draw(page, SEVEN)
    expect(part(page, "imageFacts")).to_contain_text("Your strokes are made as small as its pixels")
    expect(part(page, "preprocess")).to_be_disabled()
    click(page, "undo")
    assert answers(page) == expected


@needs_trained_models
def test_a_dot_on_black_changes_no_logit(trained_page):
    changed = trained_page.evaluate(
        """() => cnnpipe.digits.images.map(({ pixels }) => {
          const { ink, digit, network } = cnnpipe;
          const run = (sheet) => {
            const seen = digit.prepare(sheet, ink.SIDE, false).pixels;
            return cnnpipe.models.flatMap((model) => [...network.run(model, seen).logits]);
          };
          const black = pixels.findIndex((value, k) => {
            const around = [0, 1, -1, 28, -28];
            return around.every((step) => pixels[k + step] >= 252);
          });
          if (black < 0) return 0;
          const sheet = ink.enlarge(pixels);
          const before = run(sheet);
          const [x, y] = [(black % 28 + 0.5) / 28, (Math.floor(black / 28) + 0.5) / 28];
          ink.draw(sheet, { width: 0.045, points: [{ x, y, pressure: 1 }] });
          return Math.max(...run(sheet).map((logit, k) => Math.abs(logit - before[k])), 1e-12);
        })"""
    )
    assert sum(change > 0 for change in changed) > 5, "images with a black place"
    assert max(changed) < 1e-3


def test_a_reload_keeps_the_drawing(page):
    draw(page, SEVEN)
    before = ink(page), answers(page)
    page.wait_for_function("location.hash.includes('strokes=')")
    page.reload()
    settle(page)
    assert (ink(page), answers(page)) == before


def test_a_picture_that_is_dropped_is_read_as_the_command_reads_it(page, tmp_path):
    picture = np.full((300, 200, 3), (200, 190, 170), np.uint8)
    picture[:, :, 0] -= np.arange(200, dtype=np.uint8) // 4  # light falls off to one side
    picture[60:240, 90:110] = (40, 40, 90)
    path = tmp_path / "one.png"
    Image.fromarray(picture).save(path)
    expected = see(path).digits[0].image
    part(page, "file").set_input_files(path)
    page.wait_for_function("cnnpipe.state.get().picture")
    settle(page)
    found = page.evaluate(
        "[...cnnpipe.picture.decode(cnnpipe.state.get().picture)]",
    )
    assert np.abs(np.array(found).reshape(28, 28) - expected).mean() < 12
    path.write_text("no picture")
    part(page, "file").set_input_files(path)
    expected = "one.png: this is no picture that the browser can read"
    expect(part(page, "problem")).to_have_text(expected)


def test_preprocessing_is_a_visible_switch(page):
    draw(page, [(0.1, 0.1), (0.2, 0.3)])
    zoom(page, layer="input")
    picture = "(canvas) => canvas.toDataURL()"
    with_it = part(page, "inputImage").evaluate(picture)
    expected = r"^Cropped to \d+×\d+ of 336×336, scaled to [\d.]+×20, and moved by"
    expect(part(page, "imageFacts")).to_have_text(re.compile(expected))
    page.get_by_label("Preprocess as MNIST was").uncheck()
    settle(page)
    expect(part(page, "imageFacts")).to_have_text("The whole sheet, made 28×28.")
    assert part(page, "inputImage").evaluate(picture) != with_it


def test_going_back_to_the_page_resets_its_controls(page):
    page.get_by_label("thick").check()
    sandbox(page, "stride").fill("2")
    page.goto("data:text/html,elsewhere")
    page.go_back()
    expect(page.get_by_label("medium")).to_be_checked()
    expect(sandbox(page, "stride")).to_have_value("1")


def test_networks_that_disagree_answer_together(page):
    page.evaluate(
        """() => {
          const run = cnnpipe.network.run;
          cnnpipe.network.run = (model, ...rest) => {
            const [prediction, probability] = model === cnnpipe.models[0] ? [4, 0.5] : [9, 0.75];
            const result = { ...run(model, ...rest), prediction };
            result.probabilities = result.probabilities.fill(0);
            result.probabilities[prediction] = probability;
            return result;
          };
        }"""
    )
    draw(page, SEVEN)
    together = "The networks disagree; the mean of their probabilities is largest for 9: 37.5 %."
    expect(part(page, "vote")).to_have_text(together)
    expect(part(page, "answers")).to_contain_text(together)
    click(page, "clear")
    expect(part(page, "vote")).to_be_empty()


def test_probabilities_are_a_table_that_sums_to_one(page):
    draw(page, SEVEN)
    for k in range(2):
        rows = part(page, f"answer{k}").locator("tbody tr")
        assert rows.count() == 10
        widths = rows.locator(".fill").evaluate_all(
            "(fills) => fills.map((f) => parseFloat(f.style.getPropertyValue('--part')))"
        )
        assert sum(widths) == pytest.approx(100, abs=0.01)
        leading = rows.locator("xpath=self::*[contains(@class, 'first')]/th").inner_text()
        assert leading == answers(page)[k]


@needs_trained_models
def test_a_drawn_seven_is_a_seven(trained_page):
    click(trained_page, "clear")
    draw(trained_page, SEVEN)
    assert answers(trained_page) == ["7", "7"]
    spoken = re.compile(r"^LeNet-5: 7, [><\d. ]+%\. VGG: 7, [><\d. ]+%\.$")
    expect(part(trained_page, "answers")).to_have_text(spoken)


@needs_trained_models
def test_drawings_that_no_network_was_trained_on_are_recognised(trained_page):
    drawn = drawings(copies=1, seed=1) + drawings(1, 1, ALLOGRAPHS, DRAWN_BY)[::2]
    predictions = trained_page.evaluate(
        """(drawn) => drawn.map(({ strokes }) => {
          const sheet = cnnpipe.ink.sheet();
          for (const stroke of strokes) cnnpipe.ink.draw(sheet, stroke);
          const { pixels } = cnnpipe.digit.prepare(sheet, cnnpipe.ink.SIDE, true);
          const results = cnnpipe.models.map((model) => cnnpipe.network.run(model, pixels));
          const answers = [...results, cnnpipe.network.vote(results)];
          return answers.map(({ prediction }) => prediction);
        })""",
        drawn,
    )
    for k, share in enumerate((0.02, 0.02, 0.01)):  # LeNet-5, VGG, the mean of both
        wrong = [
            ({key: drawing[key] for key in drawing if key != "strokes"}, answer[k])
            for drawing, answer in zip(drawn, predictions, strict=True)
            if answer[k] != drawing["digit"]
        ]
        assert len(wrong) <= share * len(drawn), wrong


@needs_trained_models
def test_drawings_by_the_mouse_are_recognised(trained_page):
    """The way of the reader's hand: through pointer events, the sheet and the section itself."""
    drawn = drawings(1, 2, ALLOGRAPHS, [("medium", "medium", "quick")])
    chosen = [drawing for drawing in drawn if drawing["style"] == drawing["digit"] % 4]
    wrong = []
    for drawing in chosen:
        click(trained_page, "clear")
        for stroke in drawing["strokes"]:
            points = [(point["x"], point["y"]) for point in stroke["points"][::3]]
            draw(trained_page, points, steps=1)
        if answers(trained_page) != [str(drawing["digit"])] * 2:
            wrong.append((drawing["digit"], drawing["style"], answers(trained_page)))
    assert len(chosen) == 10
    assert len(wrong) <= 1, wrong


@needs_trained_models
def test_the_page_measures_its_own_difference_from_pytorch(trained_page):
    note = part(trained_page, "agreement")
    expect(note).to_contain_text("Measured in this browser")
    differences = re.findall(r"weights\) ([\d.]+)·10⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", note.inner_text())
    assert len(differences) == 2
    assert all(power in "⁵⁶⁷⁸⁹" for _, power in differences)


@needs_trained_models
def test_the_page_of_the_shipped_run_is_small_enough_to_send(trained):
    assert trained.stat().st_size <= 5_000_000
    Document(trained.read_text(encoding="utf-8"))


@needs_trained_models
def test_most_of_what_is_no_digit_is_doubted_and_digits_are_not(trained_page):
    if not trained_page.evaluate("cnnpipe.models.every(({ embedding }) => embedding)"):
        pytest.skip("`dvc repro explain` makes what this needs")
    dot = np.full((100, 100), 255, np.uint8)
    dot[45:52, 45:52] = 0
    strange = [dot, *(np.asarray(each.reduce(3)) for each in list(no_digits(seed=0))[::10])]
    doubted = """(inks) => inks.map((values) => {
      const side = Math.sqrt(values.length);
      const { pixels } = cnnpipe.digit.prepare(Float32Array.from(values), side, true);
      return cnnpipe.models.some((model) => {
        const neighbours = cnnpipe.doubt.unpack(model.embedding);
        const result = cnnpipe.network.run(model, pixels);
        return cnnpipe.doubt.distance(result, neighbours) > neighbours.usual;
      });
    })"""
    inks = [(1 - picture / 255).ravel().tolist() for picture in strange]
    told = trained_page.evaluate(doubted, inks)
    assert told[0]
    assert np.mean(told) > 0.6, told
    digits = some_test_images(ROOT / "data/raw", 60)
    inks = [(image / 255).ravel().tolist() for image in digits]
    assert np.mean(trained_page.evaluate(doubted, inks)) < 0.1


# The network, and the way into it


def numbers(page, grid, section=hand):
    """All digits of a grid's cells, row by row."""
    cells = section(page, grid).locator("td")
    return [float(title) for title in cells.evaluate_all("(cells) => cells.map((c) => c.title)")]


def shown(page, grid):
    """What is read in a grid's cells."""
    return [
        float(text.replace("−", "-")) for text in hand(page, grid).locator("td").all_inner_texts()
    ]


def point_at(page, plane, y, x, size, press=False):
    canvas = hand(page, f"{plane}Plane")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    place = (
        box["x"] + (x + 0.5) / size[1] * box["width"],
        box["y"] + (y + 0.5) / size[0] * box["height"],
    )
    page.mouse.move(*place)
    if press:
        page.mouse.click(*place)
    settle(page)


def map_value(page, model, layer, channel, y, x):
    return page.evaluate(
        """([m, name, channel, place]) => {
          const { models, network, digit, ink, convolution, state, digits } = cnnpipe;
          const { pixels } = digits.images.find(({ index }) => index === state.get().image);
          const k = models[m].layers.findIndex((layer) => layer.name === name);
          return convolution.pixel(network.run(models[m], pixels).outputs[k], channel, place);
        }""",
        [model, layer, channel, {"y": y, "x": x}],
    )


NAMES = ("lenet5", "vgg")


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
def test_products_sum_to_the_maps_value_and_so_do_the_numbers_that_are_read(
    shared, model, layer, size, channel, y, x
):
    image = shared.evaluate("cnnpipe.digits.images[0].index")
    place = {"image": image, "layer": layer, "map": channel, "pixel": [y, x]}
    zoom(shared, network=NAMES[model], **place)
    expect_place(shared, y, x, size)
    inputs, bias = shared.evaluate(
        """([m, name, channel]) => {
          const layer = cnnpipe.models[m].layers.find((each) => each.name === name);
          return [layer.weight.shape[1], layer.bias?.values[channel] ?? 0];
        }""",
        [model, layer, channel],
    )
    total, read = 0.0, 0.0
    for k in range(inputs):
        zoom(shared, term=[k, -1])
        patch, kernel, products = (numbers(shared, g) for g in ("patch", "kernel", "products"))
        assert products == [pytest.approx(p * k) for p, k in zip(patch, kernel, strict=True)]
        assert sum(shown(shared, "products")) == pytest.approx(number(shared, "chosenValue"))
        total += sum(products)
        read += number(shared, "chosenValue")
    value = map_value(shared, model, layer, channel, y, x)
    assert total + bias == pytest.approx(value, abs=1e-5)
    assert number(shared, "biasValue") == pytest.approx(value, abs=0.0051)
    assert read + round(bias, 2) == pytest.approx(number(shared, "biasValue"), abs=1e-6)


def test_the_numbers_that_are_read_add_up_at_every_pixel_of_c1(shared):
    wrong, farthest = shared.evaluate(
        """() => {
          const { models, network, convolution, byHand, arithmetic, digits } = cnnpipe;
          const [layer] = models[0].layers;
          const { input, outputs } = network.run(models[0], digits.images[0].pixels);
          const cents = (values) => Math.round(values.reduce((a, b) => a + b, 0) * 100);
          let [wrong, farthest] = [0, 0];
          for (let map = 0; map < 6; map++)
            for (let k = 0; k < 28 * 28; k++) {
              const [y, x] = [Math.floor(k / 28), k % 28];
              const terms = convolution.terms(layer, input, map, y, x);
              const value = convolution.pixel(outputs[0], map, { y, x });
              const read = byHand.shownNumbers(terms, 0, layer.bias.values[map], value);
              const total = Number(arithmetic.fixed(value).replace("−", "-"));
              wrong += cents(read.products) !== cents([read.total]);
              wrong += cents([read.total, read.bias]) !== cents([total]);
              const off = read.products.map((each, n) => Math.abs(each - terms[0].products[n]));
              farthest = Math.max(farthest, ...off);
            }
          return [wrong, farthest];
        }"""
    )
    assert wrong == 0
    assert farthest <= 0.01


def test_the_sum_is_the_same_from_the_ink_as_from_the_normalised_image(shared):
    image = shared.evaluate("cnnpipe.digits.images[0].index")
    zoom(shared, image=image, layer="c1", map=2, pixel=[1, 9])
    part(shared, "inkShown").check()
    settle(shared)
    patch, products = numbers(shared, "patch"), numbers(shared, "products")
    assert min(patch) > -1e-6
    assert max(patch) < 1 + 1e-6
    assert patch[:5] == [pytest.approx(0.1307)] * 5, "padding is as grey as the average"
    bias = float(hand(shared, "biasWork").inner_text().split(" + ")[1].replace("−", "-"))
    value = map_value(shared, 0, "c1", 2, 1, 9)
    assert sum(products) + bias == pytest.approx(value, abs=0.0051)
    assert sum(shown(shared, "products")) + bias == pytest.approx(number(shared, "biasValue"))


def test_a_map_is_silenced_where_it_is_looked_at(page):
    image = page.evaluate("cnnpipe.digits.images[0].index")
    zoom(page, image=image, layer="c1_act", map=2)
    part(page, "silence").click()
    settle(page)
    assert page.evaluate("cnnpipe.state.get().silenced") == ["lenet5.c1_act.2"]
    expect(hand(page, "activationWork")).to_have_text("silenced")
    assert number(page, "activationValue") == 0
    part(page, "restore").click()
    expect(part(page, "silence")).to_have_attribute("aria-pressed", "false")
    expect(part(page, "restore")).to_be_hidden()
    zoom(page, layer="output", map=3)
    expect(part(page, "silence")).to_be_hidden()


def test_the_images_to_try_are_one_stop_of_the_tab_key(page):
    buttons = part(page, "presets").locator("button")
    part(page, "preprocess").focus()
    press(page, "Tab")
    expect(buttons.nth(0)).to_be_focused()
    press(page, "ArrowRight", "ArrowRight", "ArrowLeft", "Enter")
    expect(buttons.nth(1)).to_have_attribute("aria-pressed", "true")
    press(page, "Tab")
    expect(part(page, "network")).to_be_focused()


def test_steps_after_the_sum_are_those_of_the_network(shared):
    image = shared.evaluate("cnnpipe.digits.images[0].index")
    # With norm, ReLU and pooling behind it.
    zoom(shared, image=image, network="vgg", layer="block1_conv2", map=0, pixel=[11, 16])
    for step, layer, place in (
        ("norm", "block1_norm2", (11, 16)),
        ("activation", "block1_relu2", (11, 16)),
        ("pool", "block1_pool", (5, 8)),
    ):
        expected = map_value(shared, 1, layer, 0, *place)
        assert number(shared, f"{step}Value") == pytest.approx(expected, abs=0.006)
    window = numbers(shared, "poolWindow")
    assert max(window) == pytest.approx(map_value(shared, 1, "block1_pool", 0, 5, 8), abs=1e-6)
    strong = hand(shared, "poolWindow").locator(".strong")
    assert float(strong.get_attribute("title")) == max(window)


def test_layers_without_a_step_do_not_show_it(shared):
    for step, network, layer, there in (
        ("norm", "", "c1_act", False),
        ("pool", "", "c1_act", True),
        ("pool", "", "c5_act", False),
        ("norm", "vgg", "block1_relu1", True),
        ("pool", "vgg", "block1_relu1", False),
    ):
        zoom(shared, network=network, layer=layer, map=0)
        for name in (f"{step}Step", f"{step}Figure"):
            expect(hand(shared, name)).to_be_visible(visible=there)


def test_three_keys_lead_from_the_network_to_one_multiplication_and_three_back(page):
    part(page, "network").focus()
    press(page, "ArrowRight", "ArrowDown", "ArrowDown")
    expect(part(page, "readout")).to_have_text(re.compile("^c1_act, map 2: largest value"))
    press(page, "Enter")
    assert trail(page)[1:] == ["c1_act", "map 2"]
    expect(hand(page, "where")).to_have_text(re.compile("the strongest$"))
    press(page, "Enter", "Enter")
    expect(part(page, "term")).to_be_visible()
    assert trail(page)[-1] == "one multiplication"
    weight = float(hand(page, "termWeight").inner_text().replace("−", "-"))
    value = float(hand(page, "termInput").inner_text().replace("−", "-"))
    product = float(hand(page, "termProduct").inner_text().replace("−", "-"))
    assert product == pytest.approx(weight * value, abs=5e-4)
    press(page, "Escape", "Escape", "Escape")
    assert trail(page) == ["The whole network"]
    expect(part(page, "network")).to_be_focused()


def test_presses_lead_in_and_the_browser_leads_back(page):
    draw(page, SEVEN)
    part(page, "names").get_by_role("button", name="c3_act").click()
    settle(page)
    assert trail(page)[1:] == ["c3_act"]
    part(page, "layerMaps").click(position={"x": 20, "y": 20})
    settle(page)
    assert trail(page)[1:] == ["c3_act", "map 0"]
    point_at(page, "sum", 3, 4, (10, 10), press=True)
    expect_place(page, 3, 4, size=10)
    hand(page, "products").locator("td").nth(7).click()
    settle(page)
    assert trail(page)[1:] == ["c3_act", "map 0", "row 3, column 4", "one multiplication"]
    for steps in (4, 3, 2, 1):
        page.go_back()
        settle(page)
        assert len(trail(page)) == steps
    assert ink(page) > 0, "back takes back no stroke"


def test_the_end_of_the_chain_is_a_neuron_and_softmax(page):
    draw(page, SEVEN)
    for network, layer, inputs in (("", "f6_act", 120), ("vgg", "hidden_relu", 4 * 7 * 7)):
        zoom(page, network=network, layer=layer, map=3, term=[0, 5])
        expect(part(page, "neuronView")).to_contain_text(f"{inputs} numbers")
        expect(part(page, "neuronTerm")).to_have_text(re.compile("× .* ≈"))
        rows = part(page, "sum").locator("td").all_inner_texts()
        *terms, bias, total, activation = [float(text.replace("−", "-")) for text in rows]
        assert sum(terms) + bias == pytest.approx(total, abs=1e-6)
        assert activation == max(0, total)
    zoom(page, network="", layer="softmax", map=None, term=None)
    rows = part(page, "softmax").locator("tbody tr").all()
    assert len(rows) == 10
    top = part(page, "softmax").locator("tbody .first")
    assert top.locator("th").inner_text() == answers(page)[0]
    assert top.locator("td").nth(2).inner_text() == "1"


def test_a_press_pins_a_pixel_and_pointing_leaves_it(shared):
    zoom(shared, layer="c1_act", map=1)
    point_at(shared, "sum", 5, 6, (28, 28))
    expect_place(shared, 5, 6)
    point_at(shared, "sum", 7, 11, (28, 28), press=True)
    for place in ((20, 3), (1, 1)):
        point_at(shared, "activation", *place, (28, 28))
        expect_place(shared, 7, 11)
    point_at(shared, "sum", 7, 11, (28, 28), press=True)
    point_at(shared, "sum", 2, 2, (28, 28))
    expect_place(shared, 2, 2)


def test_arrow_keys_move_the_pixel_and_stop_at_the_edge(shared):
    zoom(shared, layer="c1_act", map=1, pixel=[14, 14])
    hand(shared, "sumPlane").focus()
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
        press(shared, key)
        expect_place(shared, *place)
    expect(hand(shared, "status")).to_have_text(re.compile("^Row 0 of 28, column 27 of 28: "))


@pytest.mark.parametrize(
    ("plane", "size", "pointed", "place"),
    [
        ("input", (32, 32), (12, 20), (10, 18)),  # with 2 pixels of padding around 28
        ("pool", (14, 14), (3, 4), (6, 8)),
    ],
)
def test_every_plane_can_be_pointed_at(shared, plane, size, pointed, place):
    zoom(shared, layer="c1_act", map=0)
    point_at(shared, plane, *pointed, size)
    expect_place(shared, *place)


@pytest.fixture
def stopped(browser, untrained):
    """The page, whose time passes only when a test says so."""
    with opened(browser, untrained, stopped=True, reduced_motion="no-preference") as page:
        yield page


def test_the_walk_plays_pauses_goes_on_and_has_a_speed(stopped):
    zoom_without_waiting = "cnnpipe.state.set({ image: 0, layer: 'c1_act', map: 0 })"
    stopped.evaluate(zoom_without_waiting)
    stopped.clock.run_for(100)
    walk = hand(stopped, "walk")
    play = walk.get_by_role("button", name=re.compile("Play|Pause"))
    walk.get_by_role("slider").fill("20")
    play.click()
    expect(play).to_have_text("Pause")
    stopped.clock.run_for(1000)
    expect_place(stopped, 0, "(19|20)")
    play.click()
    stopped.clock.run_for(1000)
    expect_place(stopped, 0, "(19|20)")
    play.click()
    stopped.clock.run_for(1000)
    expect_place(stopped, 1, "1[0-3]")
    walk.get_by_role("slider").fill("60")
    stopped.clock.fast_forward(30_000)
    stopped.clock.run_for(100)
    expect_place(stopped, 27, 27)
    expect(play).to_have_text("Play")


def test_steps_are_for_everybody_and_nothing_moves_by_itself_where_that_was_asked_for(shared):
    zoom(shared, layer="c1_act", map=0, pixel=[3, 27])
    walk = hand(shared, "walk")
    expect(walk.get_by_text("Play")).to_be_hidden()
    walk.get_by_role("button", name="One pixel on").click()
    expect_place(shared, 4, 0)
    walk.get_by_role("button", name="One pixel back").click()
    expect_place(shared, 3, 27)


def test_the_other_network_is_drawn_on_request_and_both_answer(page):
    draw(page, SEVEN)
    both = answers(page)
    part(page, "answer1").get_by_role("radio").check(force=True)
    settle(page)
    expect(part(page, "names").get_by_role("button", name="block1_relu1")).to_be_visible()
    assert answers(page) == both


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


def test_presets_that_average_sum_to_one(page):
    for preset in ("blur", "wide"):
        sandbox(page, "preset").select_option(preset)
        sandbox(page, "pattern").select_option("point")
        settle(page)
        kernel = (
            sandbox(page, "kernel")
            .locator("input")
            .evaluate_all("(all) => all.map((each) => +each.value)")
        )
        assert sum(kernel) == pytest.approx(1, abs=0.002)


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
    assert sum(numbers(page, "products", sandbox)) == (centre or 1)
    refused = re.compile("^Row 1, column 1 needs a number from −1000 to 1000")
    expect(sandbox(page, "problem")).to_have_text("" if centre else refused)


# Everybody


@pytest.mark.parametrize("section", ["draw", "by-hand"])
def test_the_keyboard_alone_reaches_every_control(page, section):
    draw(page, SEVEN)
    page.evaluate("(section) => (location.hash = section)", section)
    expected = page.evaluate(
        """(section) => {
          const reachable = "button, select, input, summary, a[href], [tabindex='0']";
          const all = [...document.getElementById(section).querySelectorAll(reachable)]
            .filter((element) => element.checkVisibility({ visibilityProperty: true }))
            .filter((element) => element.tabIndex >= 0)
            .filter(({ type, checked }) => type !== "radio" || checked); // arrows reach the others
          all.forEach((element, k) => (element.dataset.tab = String(k)));
          return all.length;
        }""",
        section,
    )
    assert expected > 8
    page.locator(".skip").focus()
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
        for place in ({"layer": ""}, {"layer": "f6_act", "map": 2}, {"layer": "softmax"}):
            zoom(page, **place)
            assert_fits(page)
        zoom(page, layer="c3_act", map=2)
        hand(page, "allSums").locator("summary").click()
        expect(hand(page, "sumsTable").locator("tbody tr")).to_have_count(6)
        assert_fits(page)
        sandbox(page, "preset").select_option("wide")
        assert_fits(page)


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
def test_sheet_network_and_answers_are_on_the_first_screen(browser, untrained, viewport):
    with opened(browser, untrained, viewport=viewport) as page:
        page.evaluate("document.querySelector('.banner').remove()")  # of other data than MNIST
        for name in ("pad", "network", "answer0", "answer1"):
            box = part(page, name).bounding_box()
            assert box["y"] >= 0, name
            assert box["y"] + box["height"] <= viewport["height"], name


def test_axe_finds_no_violation(page):
    draw(page, SEVEN)
    assert_accessible(page, context="#draw")
    for layer in ("c3_act", "f6_act", "softmax"):
        zoom(page, layer=layer, map=None if layer == "softmax" else 1)
        assert_accessible(page, context="#draw")
    expect(sandbox(page, "preset")).to_be_visible()
    assert_accessible(page, context="#by-hand")


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
