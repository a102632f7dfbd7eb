"""The page's scripts against PyTorch, geometry and figures: the same numbers, the same colours."""

import base64
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from cnnpipe.data.raw import read_raw
from cnnpipe.drawing.colours import DIVERGING, GREYS, LEVELS, SEQUENTIAL
from cnnpipe.geometry import output_size
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.models import load_model, predict
from cnnpipe.report.browser_data import SCRIPTS, Embedded, read_embedded, read_model
from cnnpipe.report.inputs import read_sources
from cnnpipe.system.artifacts import save_csv, save_json, save_weights
from cnnpipe.system.errors import InputError
from tests.helpers.chromium_page import (
    ROOT,
    evaluation_of,
    expect,
    needs_chromium,
    needs_trained_models,
    opened,
    save_random_model,
    some_test_images,
    write_page,
    write_untrained_page,
)
from tests.helpers.contrast import contrast

pytestmark = needs_chromium

ARCHITECTURES = {
    "lenet5": ("lenet5", {}),
    "lenet5-1998": ("lenet5", {"activation": "tanh", "pooling": "avg"}),
    "lenet5-sigmoid": ("lenet5", {"activation": "sigmoid", "classes": 7}),
    "vgg": ("vgg", {}),
    "vgg-narrow": ("vgg", {"blocks": [[3]], "hidden": 5}),
    "vgg-uneven": ("vgg", {"blocks": [[5, 2, 7], [4], [6, 3]], "hidden": 11, "classes": 3}),
    "vgg-deep": ("vgg", {"blocks": [[4], [5], [6], [7]], "hidden": 9}),
}
RUN = """([model, images]) => {
  const unpacked = cnnpipe.network.unpack(model);
  return images.map((image) => {
    const { outputs, milliseconds } = cnnpipe.network.run(unpacked, cnnpipe.network.bytes(image));
    return { outputs: outputs.map(({ values }) => [...values]), milliseconds };
  });
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_untrained_page(folder)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """The page's files, for a test to change."""
    return shutil.copytree(folder, tmp_path, dirs_exist_ok=True)


def rewritten(folder):
    return write_page(folder / "reports", folder / "models", folder / "raw")


@pytest.fixture(scope="module")
def page(browser, folder):
    with opened(browser, folder / "reports" / "index.html") as page:
        yield page


@pytest.fixture(scope="module")
def images(folder):
    return some_test_images(folder / "raw")


def embedded(path, title):
    return read_model(path, title, evaluation_of(path))


def encoded(images: torch.Tensor) -> list[str]:
    return [base64.b64encode(image.numpy().tobytes()).decode() for image in images]


@pytest.fixture
def logits(page):
    """What the page's network gives for images."""

    def logits(described, images):
        found = page.evaluate(
            RUN.replace("outputs.map", "outputs.slice(-1).map"), [described, encoded(images)]
        )
        return torch.tensor([result["outputs"][0] for result in found])

    return logits


def pytorchs(path, images):
    model, normalization = load_model(path)
    return predict(model, images, normalization)


@pytest.mark.parametrize(("name", "architecture"), ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_layer_gives_out_what_pytorchs_does(
    page, logits, images, tmp_path, name, architecture
):
    path = save_random_model(tmp_path, name, **architecture)
    described = embedded(path, "")
    expected = pytorchs(path, images)
    assert (logits(described, images) - expected).abs().max() < 1e-4
    assert expected.std(0).min() > 1e-3, "the test means nothing if all images give the same logits"

    model, normalization = load_model(path)
    assert described["parameters"] == sum(p.numel() for p in model.parameters())
    passing = (nn.Flatten, nn.Dropout)
    layers = [n for n, layer in model.named_children() if not isinstance(layer, passing)]
    assert [layer["name"] for layer in described["layers"]] == layers
    with capture_activations(model, layers) as activations, torch.no_grad():
        model(normalization(images[:1]))
    [found] = page.evaluate(RUN, [described, encoded(images[:1])])
    for layer, output in zip(layers, found["outputs"], strict=True):
        assert (torch.tensor(output) - activations[layer].flatten()).abs().max() < 1e-4, layer


BACKWARD = """([model, image, target]) => {
  const unpacked = cnnpipe.network.unpack(model);
  const result = cnnpipe.network.run(unpacked, cnnpipe.network.bytes(image));
  const { layers, input } = cnnpipe.backward.run(unpacked, result, target);
  return {
    input: [...input.values],
    layers: layers.map(({ gradient, shares }) => ({
      gradient: [...gradient.values],
      shares: shares && [...shares],
    })),
  };
}"""


@pytest.mark.parametrize(("name", "architecture"), ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_gradients_and_shares_are_pytorchs(page, images, tmp_path, name, architecture):
    path, target = save_random_model(tmp_path, name, **architecture), 2
    described = embedded(path, "")
    found = page.evaluate(BACKWARD, [described, encoded(images[3:4])[0], target])

    model, normalization = load_model(path)
    value = normalization(images[3:4]).requires_grad_()
    steps = [(None, None, value)]  # layer, its input, its output
    for layer in model.children():
        steps.append((layer, value, layer(value)))
        value = steps[-1][2]
    gradients = torch.autograd.grad(value[0, target], [out for *_, out in steps], retain_graph=True)
    assert_same(found["input"], gradients[0])
    passing = (nn.Flatten, nn.Dropout)
    kept = [(*step, g) for step, g in zip(steps, gradients, strict=True) if step[0] is not None]
    kept = [step for step in kept if not isinstance(step[0], passing)]
    for (layer, source, output, gradient), ours in zip(kept, found["layers"], strict=True):
        assert_same(ours["gradient"], gradient)
        assert bool(ours["shares"]) == (hasattr(layer, "weight") and layer.weight.dim() > 1)
        if ours["shares"]:
            rows = []
            for o in range(output.shape[1]):
                alone = (output[0, o] * gradient[0, o]).sum()
                (back,) = torch.autograd.grad(alone, source, retain_graph=True)
                rows.append((back * source)[0].detach())
            maps = torch.tensor(ours["shares"]).reshape(len(rows), -1).shape[1]
            assert_same(ours["shares"], torch.stack(rows).reshape(len(rows), maps, -1).sum(2))


def assert_same(ours, torchs):
    expected = torchs.detach().flatten()
    assert (torch.tensor(ours) - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())


def test_a_silenced_map_is_zero_and_no_gradient_passes_it(page, images, tmp_path):
    path = save_random_model(tmp_path, "lenet5")
    outputs, gradient, contributed = page.evaluate(
        """([model, image]) => {
          const { network, backward } = cnnpipe;
          const lenet5 = network.unpack(model);
          const silenced = ["lenet5.c3_act.4", "vgg.c3_act.5"];
          const result = network.run(lenet5, network.bytes(image), silenced);
          const { layers } = backward.run(lenet5, result, 0);
          const some = ({ values }, c) => values.slice(100 * c, 100 * (c + 1)).some(Boolean);
          const map = (stack) => [some(stack, 4), some(stack, 5)];
          const k = lenet5.layers.findIndex(({ name }) => name === "c3_act");
          const sums = backward.contributions(result.outputs[k], layers[k].gradient);
          return [map(result.outputs[k]), map(layers[k].gradient), Boolean(sums[4])];
        }""",
        [embedded(path, ""), encoded(images[3:4])[0]],
    )
    assert (outputs, gradient, contributed) == ([False, True], [False, True], False)


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_the_worked_example_is_the_networks_own_pixel(images, tmp_path, name):
    path = save_random_model(tmp_path, name)
    pixels = {"index": 5, "pixels": encoded(images[5:6])[0]}
    example = Embedded([embedded(path, name)], {"images": [pixels], "side": 28}).example
    model, normalization = load_model(path)
    first, layer = next(model.named_children())
    with torch.no_grad():
        expected = layer(normalization(images[5:6]))[0, 0, 14, 14].item()
    assert (example.layer, example.row, example.column) == (first, 14, 14)
    assert example.value == pytest.approx(expected, abs=1e-5)
    assert example.products.shape == layer.weight.shape[2:]


@needs_trained_models
@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_logits_of_the_trained_models_are_pytorchs(logits, name):
    images = some_test_images(ROOT / "data/raw")
    path = ROOT / f"data/models/{name}.safetensors"
    described = embedded(path, name)
    assert described["precision"] == "float32"
    assert (logits(described, images) - pytorchs(path, images)).abs().max() < 1e-4


@needs_trained_models
def test_vgg_answers_within_100_milliseconds(page):
    described = embedded(ROOT / "data/models/vgg.safetensors", "vgg")
    images = encoded(some_test_images(ROOT / "data/raw", 9))
    times = [result["milliseconds"] for result in page.evaluate(RUN, [described, images])]
    assert min(times) < 100  # the rest is what else the machine was doing


LARGE = {"blocks": [[4], [4]], "hidden": 1000}
"""A VGG that has to be embedded as float16."""


def test_a_network_too_large_for_float32_is_embedded_as_float16(logits, images, tmp_path):
    path = save_random_model(tmp_path, "vgg", **LARGE)
    described = embedded(path, "VGG")
    assert described["precision"] == "float16"
    model, normalization = load_model(path)
    for tensor in model.state_dict().values():
        tensor.copy_(tensor.half().float() if tensor.is_floating_point() else tensor)
    expected = predict(model, images[:5], normalization)
    assert (logits(described, images[:5]) - expected).abs().max() < 1e-4


def test_the_page_shows_what_float16_costs(browser, copy):
    save_random_model(copy / "models", "vgg", **LARGE)
    dataset = read_raw(copy / "raw")
    images, labels = torch.from_numpy(dataset.test_images.copy()), dataset.test_labels
    for name in ("lenet5", "vgg"):
        logits = pytorchs(copy / "models" / f"{name}.safetensors", images)
        probabilities = logits.double().softmax(1).numpy()
        table = {"label": labels, "prediction": probabilities.argmax(1)}
        table |= {"confidence": probabilities.max(1)}
        table |= {"probability_of_label": probabilities[np.arange(len(labels)), labels]}
        frame = pd.DataFrame(table).reset_index()
        save_csv(copy / "reports" / "predictions" / f"{name}.csv", frame)
    with opened(browser, rewritten(copy)) as page:
        note = page.locator("#draw-app [data-part=agreement]")
        expect(note).to_contain_text("Measured in this browser")
        shown = re.findall(
            r"\((float\d+) weights\) (?:([\d.]+)·10⁻([⁴⁵⁶⁷⁸⁹])|0)", note.inner_text()
        )
    (full, _, full_power), (half, _, half_power) = shown
    assert (full, half) == ("float32", "float16")
    assert full_power in "⁷⁸⁹"
    assert half_power in "⁴⁵", "what float16 rounds away is seen"


def test_every_half_precision_number_is_read(page):
    halves = np.arange(2**16, dtype="<u2")
    packed = base64.b64encode(halves.tobytes()).decode()
    layer = {"name": "a", "kind": "relu", "weight": {"shape": [2**16], "offset": 0}}
    found = page.evaluate(
        """(model) => Array.from(cnnpipe.network.unpack(model).layers[0].weight.values, String)""",
        {"precision": "float16", "weights": packed, "layers": [layer]},
    )
    expected = halves.view("<f2").astype(np.float64)
    np.testing.assert_array_equal(np.array([float(text) for text in found]), expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_convolution_takes_stride_padding_and_dilation(page, stride, padding, dilation):
    torch.manual_seed(stride + 4 * padding + 16 * dilation)
    image, weight, bias = torch.randn(2, 9, 11), torch.randn(3, 2, 3, 2), torch.randn(3)
    found = page.evaluate(
        """({ image, weight, bias, ...geometry }) => {
          const values = Float32Array.from(image);
          const layer = {
            weight: { shape: [3, 2, 3, 2], values: Float32Array.from(weight) },
            bias: { shape: [3], values: Float32Array.from(bias) },
            ...geometry,
          };
          const input = { channels: 2, height: 9, width: 11, values };
          const output = cnnpipe.network.conv2d(input, layer);
          const by_hand = [];
          for (let o = 0; o < 3; o++)
            for (let y = 0; y < output.height; y++)
              for (let x = 0; x < output.width; x++) {
                const terms = cnnpipe.convolution.terms(layer, input, o, y, x);
                by_hand.push(terms.reduce((sum, term) => sum + term.sum, bias[o]));
              }
          const { height, width } = output;
          return { height, width, values: [...output.values], by_hand };
        }""",
        {"image": image.flatten().tolist(), "weight": weight.flatten().tolist()}
        | {"bias": bias.tolist(), "stride": stride, "padding": padding, "dilation": dilation},
    )
    expected = conv2d(image, weight, bias, stride, padding, dilation)
    assert (found["height"], found["width"]) == expected.shape[1:]
    for way in ("values", "by_hand"):
        assert (torch.tensor(found[way]) - expected.flatten()).abs().max() < 1e-5, way


def test_output_sizes_are_those_of_the_library(page):
    grid = [
        {"size": size, "kernelSize": k, "stride": s, "padding": p, "dilation": d}
        for size in (5, 14, 28)
        for k in (1, 2, 3, 5)
        for s in (1, 2, 3, 4)
        for p in (0, 1, 2)
        for d in (1, 2, 3)
        if size + 2 * p >= d * (k - 1) + 1
    ]
    found = page.evaluate(
        "(grid) => grid.map(({ size, ...rest }) => cnnpipe.network.outputSize(size, rest))", grid
    )
    expected = [
        output_size(g["size"], g["kernelSize"], g["stride"], g["padding"], g["dilation"])
        for g in grid
    ]
    assert found == expected


def test_colours_are_those_of_the_figures(page):
    parts = ((np.arange(LEVELS) + 0.5) / LEVELS).tolist()
    found = page.evaluate(
        """(parts) => {
          const scale = cnnpipe.colours.scaleOf([-1, 1]);
          const ink = cnnpipe.colours.inkScale(0, 1);
          return [
            parts.map((part) => scale.colour(part)),
            parts.map((part) => scale.colour(-part)),
            parts.map((part) => ink.colour(part)),
          ];
        }""",
        parts,
    )
    below = DIVERGING(np.arange(LEVELS - 1, -1, -1), bytes=True)
    drawn = [SEQUENTIAL(parts, bytes=True), below, GREYS(parts, bytes=True)]
    for ours, figures in zip(found, drawn, strict=True):
        # A colour between two anchors may be rounded the other way.
        assert np.abs(np.array(ours) - figures[:, :3].astype(int)).max() <= 1


def test_text_reads_on_every_colour(page):
    found = page.evaluate(
        """() => {
          const { scaleOf, textOn } = cnnpipe.colours;
          const { colour } = scaleOf([-1, 1]);
          const shades = Array.from({ length: 201 }, (_, k) => colour(k / 100 - 1));
          return shades.map((shade) => [shade, textOn(shade)]);
        }"""
    )
    for colour, text in found:
        assert contrast(colour, {"#ffffff": [255] * 3, "#000000": [0] * 3}[text]) >= 4.5


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("colours.short(0)", "0"),
        ("colours.short(-1.23456)", "−1.23"),
        ("colours.short(1234.5)", "1230"),
        ("colours.short(1.7e-7)", "1.7·10⁻⁷"),
        ("colours.short(2e12)", "2.0·10¹²"),
        ("arithmetic.fixed(-0.001)", "0.00"),
        ("arithmetic.fixed(-1.005)", "−1.00"),
        ("arithmetic.fixed(2)", "2.00"),
        ("network.softmax(Float32Array.of(1000, 1000, -1000)).join()", "0.5,0.5,0"),
    ],
)
def test_values_worked_by_hand(page, expression, value):
    assert page.evaluate(f"cnnpipe.{expression}") == value


# From ink to pixels

PREPARE = """([draw, preprocess]) => {
  const sheet = cnnpipe.ink.sheet();
  new Function("sheet", "ink", draw)(sheet, cnnpipe.ink);
  const made = cnnpipe.digit.prepare(sheet, cnnpipe.ink.SIDE, preprocess);
  return made && { ...made, pixels: [...made.pixels] };
}"""
RECTANGLE = """for (let y = {top}; y < {bottom}; y++)
  for (let x = {left}; x < {right}; x++) sheet[y * ink.SIDE + x] = 1;"""


def prepared(page, draw: str, preprocess: bool = True):
    made = page.evaluate(PREPARE, [draw, preprocess])
    if made:
        made["pixels"] = np.array(made["pixels"]).reshape(28, 28)
    return made


def test_empty_paper_is_nothing(page):
    assert prepared(page, "") is None
    assert prepared(page, "sheet.fill(0.05)") is None


@pytest.mark.parametrize(("top", "left", "scale"), [(10, 20, 1), (100, 150, 1), (5, 7, 4)])
def test_a_rectangle_lands_in_the_middle_20_pixels_high(page, top, left, scale):
    # 40×20 sheet pixels, times the scale: 20×10 in the end, from row 4 to 24, column 9 to 19.
    place = {"top": top, "left": left, "bottom": top + 40 * scale, "right": left + 20 * scale}
    made = prepared(page, RECTANGLE.format(**place))
    expected = np.zeros((28, 28))
    expected[4:24, 9:19] = 255
    np.testing.assert_array_equal(made["pixels"], expected)
    assert made["bounds"] == place


def test_the_centre_of_mass_is_in_the_middle(page):
    bar = RECTANGLE.format(top=50, bottom=70, left=60, right=160)
    stem = RECTANGLE.format(top=70, bottom=250, left=140, right=160)
    pixels = prepared(page, bar + stem)["pixels"]
    assert pixels.sum() > 0
    rows, columns = np.mgrid[:28, :28] + 0.5
    for places in (rows, columns):
        assert (places * pixels).sum() / pixels.sum() == pytest.approx(14, abs=0.02)


def test_half_covered_pixels_are_grey(page):
    # 30 sheet pixels high: 1.5 to a pixel. 3 wide: 2 pixels, centred, one column each.
    made = prepared(page, RECTANGLE.format(top=0, bottom=30, left=0, right=3))
    assert made["frame"]["pixel"] == 1.5
    assert set(made["pixels"][4:24, 13:15].ravel()) == {255}
    # 4.5 wide would be 3 pixels; 4 wide cover 2⅔, centred: ⅓ of a pixel's width less at each side.
    made = prepared(page, RECTANGLE.format(top=0, bottom=30, left=0, right=4))
    assert made["pixels"][10, 12:16].tolist() == [85, 255, 255, 85]


def test_without_preprocessing_the_sheet_is_only_made_smaller(page):
    # A sheet has 12×12 of its pixels for each of the image's.
    made = prepared(page, RECTANGLE.format(top=24, bottom=36, left=12, right=30), False)
    assert made["pixels"][2].tolist()[:4] == [0, 255, 128, 0]
    assert made["pixels"].sum() == 255 + 128


def test_an_enlarged_image_comes_back_bit_for_bit(page, images):
    found = page.evaluate(
        """(images) => images.map((image) => {
          const sheet = cnnpipe.ink.enlarge(cnnpipe.network.bytes(image));
          return [...cnnpipe.digit.prepare(sheet, cnnpipe.ink.SIDE, false).pixels];
        })""",
        encoded(images[:10]),
    )
    np.testing.assert_array_equal(np.array(found), images[:10].flatten(1).numpy())


def test_a_dot_is_as_wide_as_its_pen_and_half_as_wide_with_no_pressure(page):
    areas = page.evaluate(
        """[1, 0].map((pressure) => {
          const sheet = cnnpipe.ink.sheet();
          const points = [{ x: 0.5, y: 0.5, pressure }];
          cnnpipe.ink.draw(sheet, { points, width: 0.2 });
          return sheet.reduce((a, b) => a + b, 0);
        })"""
    )
    radius = 0.1 * 336
    assert areas == [
        pytest.approx(np.pi * radius**2, rel=0.01),
        pytest.approx(np.pi * (radius / 2) ** 2, rel=0.01),
    ]


def test_ink_past_the_edge_is_cut_off(page):
    total = page.evaluate(
        """() => {
          const sheet = cnnpipe.ink.sheet();
          const at = (x, y) => ({ x, y, pressure: 1 });
          cnnpipe.ink.draw(sheet, { points: [at(-0.5, -0.5), at(1.5, 1.5)], width: 0.1 });
          return sheet.every((value) => value >= 0 && value <= 1) && sheet.length;
        }"""
    )
    assert total == 336**2


# What stands in the file


def test_scripts_use_no_network_and_stay_inside_their_element():
    assert Embedded().script.startswith('(() => {\n"use strict";\n')
    paths = sorted((ROOT / "cnnpipe/report/scripts").glob("*.js"))
    assert {path.stem for path in paths} >= set(SCRIPTS)
    for path in paths:
        source = path.read_text(encoding="utf-8")
        assert path.stem in SCRIPTS or source.startswith('"use strict";\n'), path.name
        assert not re.search(r"</script|<!--", source, re.IGNORECASE), path.name
        reaching = r"\b(fetch|XMLHttpRequest|WebSocket|eval|innerHTML|document\.write|import)\b"
        assert not re.search(reaching, source), path.name


def test_every_script_is_on_the_page_once(folder):
    page = (folder / "reports" / "index.html").read_text(encoding="utf-8")
    for name in SCRIPTS:
        source = (ROOT / f"cnnpipe/report/scripts/{name}.js").read_text(encoding="utf-8")
        assert page.count(source) == 1, name


def test_the_same_files_give_the_same_page(folder, tmp_path):
    first = (folder / "reports" / "index.html").read_bytes()
    assert write_untrained_page(tmp_path).read_bytes() == first


def test_a_page_that_is_written_elsewhere_leaves_the_reports_as_they_are(copy, tmp_path):
    evaluation = copy / "reports" / "evaluation" / "vgg.json"
    evaluation.unlink()
    write_page(copy / "reports", copy / "models", copy / "raw", to=tmp_path / "elsewhere")
    assert not evaluation.exists()


def test_the_scripts_leave_one_name_behind(page):
    names = page.evaluate(
        """() => {
          const empty = document.body.appendChild(document.createElement("iframe"));
          const usual = new Set(Object.getOwnPropertyNames(empty.contentWindow));
          empty.remove();
          return Object.getOwnPropertyNames(window).filter((name) => !usual.has(name));
        }"""
    )
    # Playwright's own names begin so.
    assert [name for name in names if not name.startswith("__")] == ["cnnpipe"]


def test_titles_with_markup_stay_text(browser, copy):
    evil = "</script><script>alert(1)</script><!--"
    usual = (copy / "reports" / "index.html").read_text(encoding="utf-8").count("<script")
    save_json(copy / "reports" / "figures" / "lenet5.json", {"title": evil, "figures": []})
    path = rewritten(copy)
    page = path.read_text(encoding="utf-8")
    assert evil not in page
    assert page.count("<script") == usual
    with opened(browser, path) as opened_page:
        assert opened_page.evaluate("cnnpipe.models[0].title") == evil
        expect(opened_page.locator("#answer-lenet5")).to_have_text(evil)


def test_a_network_too_large_for_the_page_is_named_and_the_other_answers(browser, copy):
    large = save_random_model(copy / "models", "vgg", blocks=[[8], [8]], hidden=2000)
    with opened(browser, rewritten(copy)) as page:
        assert page.evaluate("cnnpipe.models.map(({ name }) => name)") == ["lenet5"]
        parameters = sum(parameter.numel() for parameter in load_model(large)[0].parameters())
        message = f"vgg has {parameters:,} parameters, too many to embed in one page."
        expect(page.locator("#draw")).to_contain_text(message)


@pytest.mark.parametrize(
    ("gone", "cure"),
    [("models/vgg.safetensors", "dvc repro train@vgg"), ("raw", "dvc repro download")],
)
def test_what_is_not_there_is_named_with_its_cure(browser, copy, gone, cure):
    (copy / gone).rename(copy / "elsewhere")
    with opened(browser, rewritten(copy)) as page:
        expect(page.locator("#draw")).to_contain_text(cure)
        expect(page.locator("[data-part=pad]")).to_have_count(int(gone != "raw"))


def test_a_damaged_model_is_one_clear_line(tmp_path):
    path = save_random_model(tmp_path, "lenet5")
    evaluation = evaluation_of(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"lenet5\.safetensors: damaged"):
        read_model(path, "LeNet-5", evaluation)


def test_weights_of_another_network_are_refused(tmp_path):
    path = save_random_model(tmp_path, "lenet5")
    evaluation = evaluation_of(path)
    description = {"name": "resnet", "architecture": {}, "normalization": {"mean": 0, "std": 1}}
    save_weights(path, {"a": torch.zeros(1)}, {"cnnpipe": json.dumps(description)})
    with pytest.raises(InputError, match=r"not a model of this version: KeyError\('c1.weight'\)"):
        read_model(path, "LeNet-5", evaluation)


def test_a_model_that_is_not_evaluated_is_named_with_its_cure(tmp_path):
    save_random_model(tmp_path / "models", "lenet5")
    params = {"data": {"name": "digits"}, "models": {"lenet5": {}}}
    sources = read_sources(tmp_path / "reports", tmp_path / "dataset.json", params)
    missing = read_embedded(tmp_path, sources).missing
    assert missing[0] == ("reports/evaluation/lenet5.json", "dvc repro evaluate@lenet5")
