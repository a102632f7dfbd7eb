"""Break it, silence a filter, watch it learn, the map and the doubt: against Python, and in use."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.data.dataset import load_dataset, split_validation
from cnnpipe.data.digits import digits_files
from cnnpipe.data.raw import write_raw
from cnnpipe.explain.embedding import embed, project
from cnnpipe.explain.familiarity import Familiarity, directions
from cnnpipe.explain.filters import removals
from cnnpipe.handcrafted import corruptions
from cnnpipe.models import TrainedNetwork
from cnnpipe.report.exploration import read_embedding, read_snapshots
from cnnpipe.system.artifacts import load_weights, save_csv, save_weights
from cnnpipe.system.errors import InputError
from tests.helpers.chromium_page import (
    SMALL_VGG,
    expect,
    needs_chromium,
    opened,
    save_random_model,
    settle,
    some_test_images,
    write_page,
)
from tests.helpers.written_reports import write_reports

MODELS = {"lenet5": {}, "vgg": SMALL_VGG}
MOMENTS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a run leaves for these sections, of two networks of random weights."""
    folder = tmp_path_factory.mktemp("explored")
    write_reports(folder / "reports")
    write_raw(folder / "raw", "digits", digits_files().items())
    dataset = load_dataset(folder / "raw")
    splits = split_validation(dataset.train, 0.2, seed=1)
    rows = []
    for name, changes in MODELS.items():
        network = TrainedNetwork.load(save_random_model(folder / "models", name, **changes))
        certainty, answers = network.predict(dataset.test.images).softmax(dim=1).max(dim=1)
        labels = dataset.test.labels
        predictions = pd.DataFrame(
            {
                "index": range(len(labels)),
                "label": labels,
                "prediction": answers,
                "confidence": certainty,
                "probability_of_label": certainty,
            }
        )
        save_csv(folder / f"reports/predictions/{name}.csv", predictions)
        embedded = embed(network, dataset, splits, predictions)
        save_weights(folder / f"embeddings/{name}.safetensors", embedded, {})
        first = network.model[0]
        kernels = torch.stack([first.weight.detach() * k for k in range(1, MOMENTS + 1)]).half()
        moments = {"steps": torch.arange(MOMENTS) * 50, "accuracy": torch.linspace(0.1, 0.9, 4)}
        bias = {} if first.bias is None else {"bias": torch.stack([first.bias.detach().half()] * 4)}
        tensors = moments | {"kernels": kernels} | bias
        save_weights(folder / f"snapshots/{name}.safetensors", tensors, {})
        for corruption in corruptions.CORRUPTIONS:
            for k, severity in enumerate((0.0, *corruption.severities)):
                row = {"method": name, "training": "pipeline", "corruption": corruption.name}
                rows.append(row | {"severity": severity, "accuracy": 1 - 0.2 * k, "images": 400})
    save_csv(folder / "reports/handcrafted/robustness.csv", pd.DataFrame(rows))
    write_page(folder / "reports", folder / "models", folder / "raw")
    return folder


@pytest.fixture(scope="module")
def shared(browser, folder):
    with opened(browser, folder / "reports/index.html") as page:
        yield page


@pytest.fixture
def page(shared):
    """The shared page, with a test image on the sheet and nothing changed."""
    shared.evaluate(
        "cnnpipe.state.set({image: cnnpipe.digits.images[0].index, strokes: [], silenced: [], "
        "distortion: {}})"
    )
    shared.evaluate("location.hash = '#learned'")
    settle(shared)
    return shared


@pytest.fixture(scope="module")
def images(folder):
    return some_test_images(folder / "raw", 20)


class Chosen:
    """Stands for a random generator whose draws are given."""

    def __init__(self, draw):
        self.draw = draw

    def integers(self, *_, size):
        return np.full(size, self.draw)

    def choice(self, options, size):
        return np.full(size, options[self.draw])


@needs_chromium
@pytest.mark.parametrize(
    ("name", "severity", "draw", "arguments"),
    [
        ("shift", 3, 1, [3, 0]),
        ("shift", 6, 2, [0, -6]),
        *[("rotation", degrees, 1, [degrees]) for degrees in (10, 45)],
        ("rotation", 20, 0, [-20]),
        *[("scale", change, 1, [change]) for change in (0.1, 0.5)],
        ("scale", 0.5, 0, [-0.5]),
        *[("blur", sigma, 0, [sigma]) for sigma in (0.5, 1.3, 2)],
        *[("inversion", share, 0, [share]) for share in (0.25, 0.4, 1)],
        ("occlusion", 6, 2, [6, 6, 6]),
    ],
)
def test_the_page_corrupts_images_as_the_measurement_does(
    shared, images, name, severity, draw, arguments
):
    stored = images.numpy()
    expected = getattr(corruptions, name)(stored, severity, Chosen(draw))
    found = shared.evaluate(
        "([images, name, values]) => images.map((each) => "
        "[...cnnpipe.distort[name](Uint8Array.from(each), ...values)])",
        [stored.reshape(len(stored), -1).tolist(), name, arguments],
    )
    difference = np.abs(np.reshape(found, stored.shape) - expected.astype(int))
    assert difference.max() <= 1, "halves may be rounded either way"
    assert difference.mean() < 0.02


@needs_chromium
def test_noise_has_the_deviation_that_it_is_named_for(shared):
    """On grey, which clips nothing; on black half of it is lost, as in the measurement."""
    call = "value => [...cnnpipe.distort.noise(new Uint8Array(784).fill(value), 0.1)]"
    noisy = np.array(shared.evaluate(call, 128)) - 128
    assert abs(noisy.mean()) < 3
    assert noisy.std() == pytest.approx(25.5, rel=0.06)
    again = np.array(shared.evaluate(call, 0))
    measured = corruptions.noise(np.zeros((1, 28, 28), np.uint8), 0.1, np.random.default_rng(0))
    assert again.mean() == pytest.approx(measured.mean(), rel=0.15)
    assert (again == 0).mean() == pytest.approx((measured == 0).mean(), abs=0.06)


@needs_chromium
@pytest.mark.parametrize("number", [0, 1])
def test_doubt_and_place_are_those_of_python(shared, folder, images, number):
    name = list(MODELS)[number]
    network = TrainedNetwork.load(folder / f"models/{name}.safetensors")
    tensors, _ = load_weights(folder / f"embeddings/{name}.safetensors")
    familiarity = Familiarity(network, tensors["neighbours"], float(tensors["usual"]))
    found = shared.evaluate(
        """([images, number]) => {
          const model = cnnpipe.models[number];
          const neighbours = cnnpipe.doubt.unpack(model.embedding);
          const axes = cnnpipe.testMap.unpack(model, cnnpipe.thumbnails).axes;
          const told = images.map((pixels) => {
            const result = cnnpipe.network.run(model, pixels);
            const place = cnnpipe.testMap.placeOf(result, axes);
            return [cnnpipe.doubt.distance(result, neighbours), place.x, place.y];
          });
          return { told, usual: neighbours.usual };
        }""",
        [images.flatten(1).tolist(), number],
    )
    told = np.array(found["told"])
    assert found["usual"] == familiarity.usual
    np.testing.assert_allclose(told[:, 0], familiarity.distances(images), atol=1e-5)
    places = project(directions(network, images), tensors["axes"])
    np.testing.assert_allclose(told[:, 1:], places, atol=1e-4)


@needs_chromium
def test_the_map_has_every_image_at_its_place_with_its_answer(shared, folder):
    points = shared.evaluate("cnnpipe.testMap.unpack(cnnpipe.models[1], cnnpipe.thumbnails).points")
    tensors, _ = load_weights(folder / "embeddings/vgg.safetensors")
    predictions = pd.read_csv(folder / "reports/predictions/vgg.csv")
    assert [point["index"] for point in points] == tensors["images"].tolist()
    rows = predictions.loc[tensors["images"]]
    assert [point["answer"] for point in points] == rows["prediction"].tolist()
    assert [point["label"] for point in points] == rows["label"].tolist()
    found = [[point["x"], point["y"]] for point in points]
    np.testing.assert_allclose(found, tensors["places"], atol=1e-4)


@needs_chromium
def test_silencing_counts_as_the_explain_stage_does(shared, folder):
    """Of the images on the page: those whose answer turns wrong, and right, without a filter."""
    network = TrainedNetwork.load(folder / "models/lenet5.safetensors")
    labels, pixels = shared.evaluate(
        "[cnnpipe.digits.images.map((each) => each.label), "
        "cnnpipe.digits.images.map((each) => [...each.pixels])]"
    )
    inputs = torch.tensor(pixels, dtype=torch.uint8).reshape(-1, 28, 28)
    normalised = network.normalization(inputs)
    wrong, right = removals(network.model, normalised, torch.tensor(labels))["c3"]
    found = shared.evaluate(
        """() => Array.from({ length: 16 }, (_, filter) => {
          const turned = [0, 0];
          for (const { label, pixels } of cnnpipe.digits.images) {
            const [before, after] = [[], [`lenet5.c3_act.${filter}`]].map(
              (maps) => cnnpipe.network.run(cnnpipe.models[0], pixels, maps).prediction === label);
            turned[0] += before && !after;
            turned[1] += !before && after;
          }
          return turned;
        })"""
    )
    assert found == torch.stack([wrong, right], dim=1).tolist()
    logits = shared.evaluate(
        "cnnpipe.digits.images.map(({pixels}) => "
        "[...cnnpipe.network.run(cnnpipe.models[0], pixels, ['lenet5.c3_act.3']).logits])"
    )
    third = torch.arange(16).reshape(16, 1, 1) != 3
    with torch.inference_mode():
        network.model.c3_act.register_forward_hook(lambda *given: given[2] * third)
        expected = network.model(normalised)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@needs_chromium
def test_batch_normalisation_by_the_images_own_statistics_is_pytorchs_in_training(page, folder):
    network = TrainedNetwork.load(folder / "models/vgg.safetensors")
    for layer in network.model.modules():
        layer.training = isinstance(layer, nn.BatchNorm2d)
    logits = page.evaluate(
        """() => {
          const { models, digits, network } = cnnpipe;
          const layers = models[1].layers.map((layer) => ({ ...layer, ownStatistics: true }));
          return [...network.run({ ...models[1], layers }, digits.images[0].pixels).logits];
        }"""
    )
    index = page.evaluate("cnnpipe.digits.images[0].index")
    [image] = load_dataset(folder / "raw").test.images[[index]]
    with torch.no_grad():
        expected = network.model(network.normalization(image[None]))[0]
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@needs_chromium
def test_a_slider_changes_the_image_the_answers_and_the_address(page):
    app = page.locator("#break-app")
    app.scroll_into_view_if_needed()
    before = app.locator("[data-part=image]").screenshot()
    noise = app.get_by_role("slider", name="Noise")
    noise.fill("0.4")
    settle(page)
    expect(app.locator("output[for=break-noise]")).to_have_text("0.4")
    assert app.locator("[data-part=image]").screenshot() != before
    page.wait_for_function("location.hash.includes('distortion=noise')")
    # Half way from the second severity, 0.2, to the end: the fourth point of five, 0.4.
    expect(app.locator("[data-corruption=noise] .measured")).to_have_text(
        "LeNet-5 40.0 %, VGG 40.0 %"
    )
    shown = app.locator("[data-part=broken1] [data-part=class]")
    pixels = (
        "cnnpipe.distort.apply(cnnpipe.digits.images[0].pixels, cnnpipe.state.get().distortion)"
    )
    answer = page.evaluate(f"cnnpipe.network.run(cnnpipe.models[1], {pixels}).prediction")
    expect(shown).to_have_text(str(answer))
    sure = [app.locator(f"[data-part=broken{k}] [data-part=confidence]") for k in range(2)]
    lenet5, vgg = (each.inner_text() for each in sure)
    app.get_by_label("Normalise by this image").check()
    expect(sure[1]).not_to_have_text(vgg)
    expect(sure[0]).to_have_text(lenet5)  # it has no batch normalisation
    app.get_by_role("button", name="As it was").click()
    expect(noise).to_have_value("0")


@needs_chromium
def test_each_of_six_networks_has_a_stroke_of_its_own(shared):
    strokes = shared.evaluate(
        """() => {
          const key = document.querySelector("#break-app .key svg");
          const line = key.querySelector("line");
          const before = line.getAttribute("class");
          const found = [0, 1, 2, 3, 4, 5, 6].map((k) => {
            line.setAttribute("class", `line line${k}`);
            const { stroke, strokeDasharray } = getComputedStyle(line);
            return [stroke, strokeDasharray];
          });
          line.setAttribute("class", before);
          return found;
        }"""
    )
    assert "none" not in [stroke for stroke, _ in strokes], "the seventh has one, too"
    assert len(set(map(tuple, strokes))) == 7


@needs_chromium
def test_a_closed_chapter_waits_and_then_shows_what_is_on_the_sheet(page):
    image = "document.querySelector('#break-app [data-part=image]').toDataURL()"
    before = page.evaluate(image)
    page.evaluate("location.hash = '#draw'")
    page.evaluate("cnnpipe.state.set({ image: cnnpipe.digits.images[1].index })")
    settle(page)
    assert page.evaluate(image) == before
    page.evaluate("location.hash = '#break'")
    settle(page)
    assert page.evaluate(image) != before


@needs_chromium
def test_a_patch_goes_where_the_image_is_pressed_and_follows_the_arrow_keys(page):
    image = page.locator("#break-app [data-part=image]")
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    image.click(position={"x": box["width"] / 2, "y": box["height"] / 4})
    image.press("ArrowDown")
    settle(page)
    assert page.evaluate("cnnpipe.state.get().distortion") == {"occlusion": 6, "top": 5, "left": 11}


@needs_chromium
def test_a_silenced_filter_changes_the_answer_and_can_be_heard_again(page):
    host = page.locator("#filters [data-network=lenet5]")
    button, told = host.get_by_role("button", name="1", exact=True), host.get_by_role("status")
    logits = (
        "[...cnnpipe.network.run(cnnpipe.models[0], cnnpipe.digits.images[0].pixels, "
        "cnnpipe.state.get().silenced).logits]"
    )
    whole = page.evaluate(logits)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("cnnpipe.state.get().silenced") == ["lenet5.c1_act.1"]
    assert page.evaluate(logits) != whole
    expect(told).to_contain_text("without one map")
    expect(told).to_contain_text(
        "Measured on 10 test images: without filter 1 0.00 points are lost"
    )
    host.get_by_role("button", name="Restore all filters").click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(told).to_be_empty()


@needs_chromium
def test_kernels_are_drawn_on_their_own_scales_in_place_of_the_figure(page):
    host = page.locator("#filters [data-network=lenet5]")
    figure, own = page.locator("#filters .plate").first, host.locator("[data-part=kernels]")
    host.get_by_role("checkbox").check()
    expect(own).to_be_visible()
    expect(figure).to_be_hidden()
    # The first weight of the first kernel is painted 12 by 12, in its colour on the filter's scale.
    assert page.evaluate(
        """() => {
          const own = document.querySelector("#filters [data-network=lenet5] [data-part=kernels]");
          const values = cnnpipe.models[0].layers[0].weight.values.subarray(0, 25);
          const expected = cnnpipe.colours.scaleOf(values, true).colour(values[0]);
          const found = own.getContext("2d").getImageData(5, 5, 1, 1).data;
          return expected.every((part, k) => part === found[k]);
        }"""
    )
    host.get_by_role("checkbox").uncheck()
    expect(figure).to_be_visible()


@needs_chromium
def test_snapshots_play_and_stop_at_the_end(browser, folder):
    path = folder / "reports/index.html"
    with opened(browser, path, reduced_motion="no-preference") as page:
        page.evaluate("location.hash = '#snapshots'")
        host = page.locator("#snapshots-app [data-network='0']")
        told = host.locator("[data-part=told]")
        host.get_by_role("slider").fill("0")
        expect(told).to_have_text("Step 0 of 150: 10.0 %")
        host.get_by_role("button", name="Play").click()
        expect(told).to_have_text("Step 150 of 150: 90.0 %")
        expect(host.get_by_role("button", name="Play")).to_be_visible()


@needs_chromium
def test_with_less_motion_a_press_is_one_step(page):
    host = page.locator("#snapshots-app [data-network='0']")
    host.get_by_role("slider").fill("1")
    host.get_by_role("button", name="Next step").click()
    expect(host.locator("[data-part=told]")).to_have_text("Step 100 of 150: 63.3 %")


@needs_chromium
def test_the_map_is_read_by_keyboard_and_goes_from_mistake_to_mistake(page):
    host = page.locator("#test-map-app [data-network='0']")
    host.scroll_into_view_if_needed()
    told = host.locator("[data-part=told]")
    host.get_by_role("button", name="Next mistake").click()
    expect(told).to_contain_text("read as")
    first = told.text_content()
    host.get_by_role("button", name="Next mistake").click()
    expect(told).not_to_have_text(first)
    host.locator("[data-part=map]").focus()
    page.keyboard.press("ArrowLeft")
    expect(told).to_contain_text("Test image")
    expect(host.locator("[data-part=own]")).to_contain_text("Your image lies")


def test_what_is_not_there_or_damaged_is_said(tmp_path, folder):
    assert read_snapshots(tmp_path / "none.safetensors") is None
    assert read_embedding(tmp_path / "none.safetensors", pd.DataFrame()) is None
    save_weights(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match=r"other\.safetensors: no snapshots of this version"):
        read_snapshots(tmp_path / "other.safetensors")
    few = pd.DataFrame({"index": [0], "prediction": [1]})
    with pytest.raises(InputError, match="not of this version and test set"):
        read_embedding(folder / "embeddings/vgg.safetensors", few)
