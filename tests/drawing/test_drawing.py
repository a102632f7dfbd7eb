"""Figures show the values they are given, on fixed scales, and have the same bytes each time."""

import subprocess
import sys
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from cnnpipe.benchmark import figures as benchmark_figures
from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, DIVERGING, ERRORS, GREYS, PALETTE, SEQUENTIAL, scale_of
from cnnpipe.drawing.curves import apart
from cnnpipe.drawing.kernels import draw as draw_kernels
from cnnpipe.drawing.kernels import tiled
from cnnpipe.explain.figures import attribution, patches
from cnnpipe.visualize import confusion, curves, feature_maps, journey, mistakes, reliability
from tests.helpers.contrast import luminance
from tests.helpers.written_reports import rungs, timed

DIGITS = [str(digit) for digit in range(10)]
GARMENTS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
GARMENTS += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (3, 28, 28), dtype=np.uint8)
ACTIVATIONS = {
    "c1": RANDOM.normal(size=(3, 6, 28, 28)),
    "c1_act": RANDOM.normal(size=(3, 6, 28, 28)).clip(0),
    "block3_conv2": RANDOM.normal(size=(3, 64, 7, 7)),
    "c5": RANDOM.normal(size=(3, 120, 1, 1)),
    "f6": RANDOM.normal(size=(3, 84)),
    "output": RANDOM.normal(size=(3, 10)),
}
SHARES = [
    RANDOM.normal(size=(len(b[0]), a))
    for a, b in zip([1, 6, 6, 64, 120, 84], ACTIVATIONS.values(), strict=True)
]
CURVES = pd.DataFrame(
    {"epoch": [1, 2, 3], "train_loss": [0.5, 0.2, 0.1], "train_accuracy": [0.8, 0.9, 0.95]}
    | {"validation_loss": [0.3, 0.15, 0.12], "validation_accuracy": [0.85, 0.93, 0.94]}
)
MISTAKES = pd.DataFrame(
    {"index": [9999, 18, 4], "label": [9, 3, 0], "prediction": [0, 9, 6]}
    | {"confidence": [0.9999, 0.8, 0.4], "probability_of_label": [0.0001, 0.1, 0.3]}
)
ALGORITHMS = ["direct", "im2col", "winograd", "fft", "compiled", "implicit_gemm"]

LAYERS = [
    {"layer": f"{model} block3_conv{number}", "shape": "128×28×28 → 128, 11×11", "phase": phase}
    | {"auto": "implicit_gemm"}
    | timed(**{name: 3.0 + place for place, name in enumerate(ALGORITHMS)})
    for model in ("lenet5", "vgg")
    for number in (1, 2)
    for phase in ("forward", "training")
]
STEPS = [
    {"model": model, "phase": phase, "batch_size": size, **timed(scratch=factor * (4.0 + size))}
    for model, factor in [("lenet5", 1.0), ("vgg", 10.0)]
    for phase in ("forward", "training")
    for size in (1024, 8, 1)
]


FILTERS = pd.DataFrame(
    {"filter": range(20), "silent": [1.0] + [0.2] * 19}
    | {"accuracy_lost": [0, 0.0123, -0.004] + [0.0] * 17}
)
PATCHES = {k: [RANDOM.integers(0, 256, (14, 14), dtype=np.uint8)] * 3 for k in range(1, 20)}
BINS = [
    {"low": 0.4, "high": 0.6, "images": 3, "confidence": 0.5, "accuracy": 0.66}
    | {"interval": [0.2, 0.94]},
    {"low": 0.9, "high": 1.0, "images": 9000, "confidence": 0.999, "accuracy": 0.995}
    | {"interval": [0.99, 0.997]},
]
SIGNED = RANDOM.normal(size=(3, 28, 28))
COUNTS = np.diag(np.arange(990, 1000)) + np.eye(10, k=3, dtype=np.int64) * 7


def figures(classes):
    first = {name: values[0] for name, values in ACTIVATIONS.items()}
    yield curves.draw(CURVES, "Curves")
    yield confusion.draw(COUNTS, classes, "Confusion")
    yield mistakes.draw(IMAGES, MISTAKES, classes, "Mistakes")
    yield draw_kernels(RANDOM.normal(size=(6, 1, 5, 5)), "c1")
    yield draw_kernels(RANDOM.normal(size=(64, 64, 3, 3)), "block3_conv2")
    yield feature_maps.draw(IMAGES, ACTIVATIONS, 1, classes, "Maps", "of a digit")
    yield journey.draw(IMAGES[0], first, SHARES, classes, "Journey")
    yield benchmark_figures.speeds(rungs(), "Ladder")
    yield benchmark_figures.speeds(rungs(peak=None), "A ladder without a peak")
    yield benchmark_figures.layer_ratios(LAYERS, "training", "Layers")
    yield benchmark_figures.time_against_batch_size(STEPS, "Batches")

    yield draw_kernels(RANDOM.normal(size=(120, 16, 5, 5)), "c5", dead=[0, 119])
    yield patches.draw(FILTERS, PATCHES, "Patches")
    yield reliability.draw(BINS, "Reliability", "off by 1.23 points")
    yield attribution_figure([f"{k}: “{name}” as “{name}”" for k, name in enumerate(classes[:3])])

    yield curves.draw(CURVES.head(1), "A single epoch; a $\\broken$ title is no mathematics")
    yield benchmark_figures.time_against_batch_size(STEPS[3:4], "A single batch size")
    yield confusion.draw(np.diag([5, 5]), classes[:2], "No errors")
    yield mistakes.draw(IMAGES[:0], MISTAKES.head(0), classes, "No mistakes")


def attribution_figure(captions):
    names = {"gradient": "gradient", "occlusion": "occlusion"}
    trained = {"gradient": np.abs(SIGNED), "occlusion": SIGNED}
    return attribution.draw(IMAGES, trained, trained, captions, names, "Attribution")


@pytest.mark.parametrize("classes", [DIGITS, GARMENTS], ids=["digits", "garments"])
def test_no_text_is_cut_off(classes):
    for figure in figures(classes):
        assert_on_its_page(figure)


def assert_on_its_page(figure):
    """Nothing is drawn beyond the edge, by more than rounding."""
    ink, title = figure.get_tightbbox(), figure.texts[0].get_text()
    width, height = figure.get_size_inches() + 1e-9
    assert 0 <= ink.x0 < ink.x1 <= width, title
    assert 0 <= ink.y0 < ink.y1 <= height, title


@pytest.mark.parametrize("K", [47, 256])
def test_names_of_many_classes_have_room(K):
    names = [f"class {number} of $" for number in range(K)]
    *hidden, last = ACTIVATIONS
    activations = {name: ACTIVATIONS[name] for name in hidden}
    activations[last] = RANDOM.normal(size=(3, K))
    first = {name: values[0] for name, values in activations.items()}
    shares = [*SHARES[:-1], RANDOM.normal(size=(K, 84))]
    for figure in (
        confusion.draw(np.eye(K, dtype=np.int64), names, "Confusion"),
        feature_maps.draw(IMAGES, activations, 1, names, "Maps", ""),
        journey.draw(IMAGES[0], first, shares, names, "Journey"),
    ):
        assert_on_its_page(figure)
        shown = [
            text
            for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().startswith("class ")
        ]
        boxes = [text.get_window_extent() for text in shown if text.get_rotation() in (0, 90)]
        assert len(boxes) > 20
        assert not any(one.padded(-1).overlaps(other) for one, other in combinations(boxes, 2))


def test_same_arrays_give_the_same_bytes_whatever_the_user_configured(tmp_path):
    def save(name):
        path = tmp_path / name
        layout.save_png(path, curves.draw(CURVES, "Curves"))
        return path.read_bytes()

    first = save("first.png")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30}):
        assert save("second.png") == first
    with Image.open(tmp_path / "first.png") as image:
        assert image.size == (1245, 510)
        assert "Software" not in image.info


def test_every_colour_of_every_scale_is_stored_exactly(tmp_path):
    stored = {tuple(colour) for colour in PALETTE.tolist()}
    for colours in (SEQUENTIAL, DIVERGING, ERRORS, GREYS):
        used = colours(np.arange(colours.N), bytes=True)[:, :3]
        assert stored.issuperset(map(tuple, used.tolist()))
    assert len(PALETTE) <= 256

    weights = np.linspace(-1, 1, 25).reshape(1, 1, 5, 5)
    layout.save_png(tmp_path / "filters.png", draw_kernels(weights, "c1"))
    with Image.open(tmp_path / "filters.png") as image:
        present = {colour for _, colour in image.convert("RGB").getcolors()}
    expected = DIVERGING((weights.ravel() + 1) / 2, bytes=True)[:, :3]
    assert present.issuperset(map(tuple, expected.tolist()))


def lightness(rgb):
    """CIE L* of sRGB colours."""
    Y = luminance(rgb)
    return np.where(Y > 0.008856, 116 * np.cbrt(Y) - 16, 903.3 * Y)


@pytest.mark.parametrize("colours", [SEQUENTIAL, ERRORS, GREYS], ids=lambda c: c.name)
def test_lightness_falls_steadily_from_white(colours):
    steps = -np.diff(lightness(colours(np.arange(colours.N))[:, :3]))
    assert colours(0) == (1, 1, 1, 1)
    assert (steps > 0).all()
    assert steps.max() < 3 * steps.mean()


def test_signed_colours_are_the_two_one_sided_scales_with_white_zero():
    middle = DIVERGING.N // 2
    assert DIVERGING(middle) == (1, 1, 1, 1)
    np.testing.assert_allclose(
        DIVERGING(np.arange(middle, DIVERGING.N)), SEQUENTIAL(np.arange(SEQUENTIAL.N)), atol=1e-12
    )
    np.testing.assert_allclose(
        DIVERGING(np.arange(middle, -1, -1)), ERRORS(np.arange(ERRORS.N)), atol=1e-12
    )


@pytest.mark.parametrize(
    ("values", "low", "high", "colours"),
    [
        ([-3.0, 1.0], -3, 3, DIVERGING),
        ([0.0, 2.0], 0, 2, SEQUENTIAL),
        ([0.0, 0.0], 0, 1, SEQUENTIAL),  # a layer that is dead for all images has a scale, too
    ],
)
def test_scale_of_a_layer(values, low, high, colours):
    scale = scale_of(np.array(values))
    assert (scale.low, scale.high, scale.colours) == (low, high, colours)


def test_tiles_worked_by_hand():
    maps = np.array([[[1, 2]], [[3, 4]], [[5, 6]]])  # three maps of 1×2
    nan = np.nan
    np.testing.assert_array_equal(
        tiled(maps, columns=2),
        [
            [nan, nan, nan, nan, nan, nan, nan],
            [nan, 1, 2, nan, 3, 4, nan],
            [nan, nan, nan, nan, nan, nan, nan],
            [nan, 5, 6, nan, nan, nan, nan],
            [nan, nan, nan, nan, nan, nan, nan],
        ],
    )


def texts_of(figure):
    return [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in figure.texts]


def drawn_images(figure):
    return [image for axes in figure.axes for image in axes.images]


def corners(axes):
    """Where the outlines in a panel begin."""
    return [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3, 3), (6, 1, 5, 5), (40, 1, 3, 3), (16, 6, 5, 5), (120, 16, 5, 5), (7, 3, 1, 1)],
)
def test_every_weight_is_drawn_once_on_one_symmetric_scale(shape):
    weights = RANDOM.normal(size=shape)
    weights.flat[0] = -9
    blocks = drawn_images(draw_kernels(weights, "a layer"))
    drawn = np.concatenate([np.ma.filled(block.get_array(), np.nan).ravel() for block in blocks])
    np.testing.assert_array_equal(np.sort(drawn[~np.isnan(drawn)]), np.sort(weights.ravel()))
    assert {block.get_clim() for block in blocks} == {(-9, 9)}
    assert {block.get_interpolation() for block in blocks} == {"nearest"}


def test_rows_are_output_channels_and_columns_input_channels():
    weights = np.arange(16 * 6, dtype=float).reshape(16, 6, 1, 1) + 1
    block = drawn_images(draw_kernels(weights, "c3"))[0].get_array()
    assert block[1, 1::2].tolist() == [1, 2, 3, 4, 5, 6]
    assert block[3, 1::2].tolist() == [7, 8, 9, 10, 11, 12]


def test_dead_filters_are_outlined():
    figure = draw_kernels(RANDOM.normal(size=(6, 1, 5, 5)), "c1", dead=[4])
    assert corners(figure.axes[0]) == [(4 * 6, 0)]
    assert any("outlined: dead (1 filter)" in text for text in texts_of(figure))
    figure = draw_kernels(RANDOM.normal(size=(16, 6, 5, 5)), "c3", dead=[1])
    assert [corner for axes in figure.axes for corner in corners(axes)] == [(0, 6)]


def test_figures_of_two_runs_share_their_scales():
    weights = RANDOM.normal(size=(6, 1, 5, 5))
    blocks = drawn_images(draw_kernels(weights, "c1", limit=7.5))
    assert {block.get_clim() for block in blocks} == {(-7.5, 7.5)}
    everything, errors = confusion.draw(COUNTS, DIGITS, "A", beside=3 * COUNTS).axes
    assert everything.images[0].get_clim() == (0, 3 * 999)
    assert errors.images[0].get_clim() == (0, 21)
    longer = CURVES.assign(epoch=[1, 2, 9], train_loss=[4.0, 0.2, 0.1])
    one, other = (
        [(axes.get_xlim(), axes.get_ylim()) for axes in curves.draw(run, "A", beside=beside).axes]
        for run, beside in ((CURVES, longer), (longer, CURVES))
    )
    assert one == other
    assert one[0][1][1] > 4
    own, with_other = (
        reliability.draw(BINS[:1], "A", "", beside=beside).axes[1].get_ylim()
        for beside in ((), BINS)
    )
    assert (own[1], with_other[1]) == (6, 18000)


def test_each_card_shows_the_accuracy_lost_without_its_filter():
    texts = texts_of(patches.draw(FILTERS, PATCHES, "P"))
    start = texts.index("0")
    assert texts[start : start + 6] == ["0", "dead", "1", "+1.23", "2", "−0.40"]


def test_attribution_maps_have_their_limits_below_them():
    texts = texts_of(attribution_figure(["a", "b", "c"]))
    limit = f"{np.abs(SIGNED[0]).max():.3g}"
    start = texts.index("a")
    assert texts[start + 1 : start + 5] == [f"0 to {limit}"] * 2 + [f"±{limit}"] * 2


def test_reliability_has_the_diagonal_and_the_intervals():
    axes, counts = reliability.draw(BINS, "Reliability", "").axes
    diagonal, *lines, points = axes.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert [list(line.get_ydata()) for line in lines] == [[0.2, 0.94], [0.99, 0.997]]
    assert list(points.get_ydata()) == [0.66, 0.995]
    assert counts.get_yscale() == "log"


@pytest.fixture
def rectified():
    """Activations after a ReLU, for a test to change."""
    return ACTIVATIONS["c1_act"].copy()


def test_feature_maps_share_a_scale_across_maps_and_images(rectified):
    rectified[2, 5, 0, 0] = 40  # in another image than the one drawn
    figure = feature_maps.draw(IMAGES, ACTIVATIONS | {"c1_act": rectified}, 0, DIGITS, "Maps", "")
    _input, c1, c1_act, *_ = drawn_images(figure)
    assert c1.get_clim()[0] == -c1.get_clim()[1]
    assert c1_act.get_clim() == (0, 40)


def test_maps_that_are_zero_everywhere_are_outlined_and_counted(rectified):
    rectified[0, [1, 4]] = 0
    figure = feature_maps.draw(IMAGES, ACTIVATIONS | {"c1_act": rectified}, 0, DIGITS, "Maps", "")
    assert corners(drawn_images(figure)[2].axes) == [(1 * 29 + 0.5, 0.5), (4 * 29 + 0.5, 0.5)]
    assert any("zero everywhere for this image (2 maps)" in text for text in texts_of(figure))


def test_curves_have_honest_axes():
    loss, accuracy = curves.draw(CURVES, "Curves").axes
    assert loss.get_ylim()[0] == 0
    assert accuracy.get_ylim()[1] == 1
    training, validation = accuracy.lines
    assert training.get_ydata().tolist() == CURVES["train_accuracy"].tolist()
    assert validation.get_ydata().tolist() == CURVES["validation_accuracy"].tolist()


def test_the_second_panel_of_the_confusion_shows_only_errors():
    everything, errors = confusion.draw(COUNTS, DIGITS, "Confusion").axes
    assert sorted(text.get_text() for text in errors.texts) == ["7"] * 7
    assert len(everything.texts) == 17
    assert errors.images[0].get_clim() == (0, 7)
    assert everything.images[0].get_clim() == (0, 999)


def test_a_network_without_errors_has_no_mistakes_to_show():
    figure = mistakes.draw(IMAGES[:0], MISTAKES.head(0), DIGITS, "Mistakes")
    assert "there are none" in texts_of(figure)


def test_mistakes_show_both_classes_both_probabilities_and_the_index():
    figure = mistakes.draw(IMAGES, MISTAKES, DIGITS, "Mistakes")
    texts = texts_of(figure)
    start = texts.index("0")
    assert texts[start : start + 5] == ["0", "> 99.9 %", "9", "< 0.1 %", "test image 9999"]


def test_wires_show_sign_and_relative_strength():
    activations = {"output": np.array([1.0, 3.0])}
    shares = [np.array([[1.0], [-2.0]])]
    figure = journey.draw(IMAGES[0], activations, shares, ["a", "b"], "Journey")
    (wires,) = figure.axes[0].collections
    weak, strong = wires.get_edgecolors()
    np.testing.assert_allclose(strong, to_rgba("#c2540a"))  # lowers: orange, opaque
    np.testing.assert_allclose(weak, to_rgba("#1f6fb5", 0.5**0.7))  # raises: blue, half as strong


def test_each_rung_is_drawn_at_its_speed_and_the_line_at_the_peak():
    figure = benchmark_figures.speeds(rungs(), "Ladder")
    for axes in figure.axes:
        assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 50, 100])
        *whiskers, peak = axes.lines
        assert whiskers[0].get_xdata() == pytest.approx([10 / 1.2, 10 / 0.9])
        assert peak.get_xdata() == [200, 200]
        assert axes.get_xlim()[0] == 0
    texts = texts_of(figure)
    assert texts[texts.index("10") :][:6] == ["10", "5 %", "50", "25 %", "100", "50 %"]


def test_a_ladder_without_a_peak_says_so():
    figure = benchmark_figures.speeds(rungs(peak=None), "Ladder")
    assert any("the cores’ peak could not be measured" in text for text in texts_of(figure))
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]  # whiskers


def test_each_algorithm_is_drawn_at_its_ratio_and_what_auto_takes_is_filled():
    layer = {"layer": "c1", "shape": "1×2×2 → 3, 1×1", "phase": "forward", "auto": "compiled"}
    layer |= timed(im2col=8.0, compiled=5.0)  # torch: 2.0, so the ratios are 4 and 2.5
    figure = benchmark_figures.layer_ratios(
        [layer, layer | {"phase": "training"}], "forward", "Layers"
    )
    (axes,) = figure.axes
    _one, channels_last, im2col_whisker, im2col, compiled_whisker, compiled = axes.lines
    assert channels_last.get_xdata().tolist() == [0.5]
    assert im2col_whisker.get_xdata() == pytest.approx([3.6, 4.8])
    assert (im2col.get_xdata().tolist(), im2col.get_markerfacecolor()) == ([4.0], "white")
    assert compiled_whisker.get_xdata() == pytest.approx([2.25, 3.0])
    assert (compiled.get_xdata().tolist(), compiled.get_markerfacecolor()) == ([2.5], BLUE)
    assert im2col.get_marker() != compiled.get_marker()
    texts = texts_of(figure)
    assert texts[texts.index("c1") :][2:4] == ["compiled", "2.50"]


def test_an_algorithm_that_was_not_timed_for_a_layer_is_left_out_there():
    both, one = timed(direct=6.0, compiled=4.0), timed(compiled=4.0)
    what = {"layer": "c1", "shape": "", "phase": "training", "auto": "compiled"}
    figure = benchmark_figures.layer_ratios([what | both, what | one], "training", "Layers")
    markers = [line.get_marker() for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    direct, compiled = markers[1], markers[2]
    assert markers == ["|", direct, compiled, "|", compiled]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["direct", "compiled", "torch, channels last"]


def test_steps_are_drawn_in_the_order_of_their_batch_size():
    figure = benchmark_figures.time_against_batch_size(STEPS, "Batches")
    time, ratio, *_vgg = figure.axes
    scratch, torchs, channels_last, _proportional = time.lines
    assert scratch.get_xdata().tolist() == [1, 8, 1024]
    assert scratch.get_ydata().tolist() == [5, 12, 1028]
    assert torchs.get_ydata().tolist() == [2, 2, 2]
    assert channels_last.get_ydata().tolist() == [1, 1, 1]
    assert ratio.lines[0].get_ydata().tolist() == [2.5, 6, 514]
    assert ratio.lines[2].get_ydata().tolist() == [0.5, 0.5, 0.5]
    assert ratio.get_ylim()[0] == 0
    named = [text.get_text() for text in time.texts]
    assert named == ["channels last  1 ms", "torch  2 ms", "scratch  1,030 ms"]


def test_names_of_lines_that_end_together_stand_apart():
    steps = [step | timed(scratch=2.0) for step in STEPS]
    figure = benchmark_figures.time_against_batch_size(steps, "Batches")
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


def test_names_of_curves_that_end_together_move_apart_in_their_order():
    places = apart({"c": 0.9, "b": 0.52, "a": 0.5}, 0.1)
    assert places == pytest.approx({"a": 0.46, "b": 0.56, "c": 0.9})


def test_pyplot_and_its_global_state_stay_out():
    code = "import sys, cnnpipe.visualize.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_pixel_takes_the_nearest_colour_of_the_palette() -> None:
    codes = np.random.default_rng(0).integers(0, 1 << 24, 500).repeat(3).astype("<u4")
    rgb = np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=1).astype(np.int64)
    chosen = PALETTE[layout._nearest_in_palette(codes)]
    distances = ((rgb[:, None] - PALETTE.astype(np.int64)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(((rgb - chosen) ** 2).sum(axis=1), distances.min(axis=1))
