"""Pictures of one's own: what is found in them, how networks read it, and when they doubt."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cnnpipe.data.digits import digits_files
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.raw import read_raw, write_raw
from cnnpipe.download.picture import read_picture as as_stored
from cnnpipe.drawing.layout import save_png
from cnnpipe.explain.familiarity import Familiarity
from cnnpipe.models import TrainedNetwork, build_model
from cnnpipe.predict import Reader, classify, see
from cnnpipe.predict import __main__ as command
from cnnpipe.predict.digits import cut_digits, fitted
from cnnpipe.predict.figure import draw
from cnnpipe.system.errors import InputError
from tests.helpers import strokes
from tests.helpers.chromium_page import needs_chromium, needs_trained_models, save_random_model
from tests.helpers.no_digits import no_digits
from tests.helpers.pictures import (
    ORIENTATION,
    inked,
    mixed,
    pen,
    pictures,
    plain,
    two_digits_and_a_letter,
)
from tests.helpers.project import ROOT

SEED = 1
"""Of the 40 pictures that docs/predict.md tells of. Nothing was adjusted to them."""


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


# The 40 pictures


@needs_trained_models
def test_both_networks_read_95_percent_of_the_pictures_and_doubt_the_rest(monkeypatch):
    monkeypatch.chdir(ROOT)
    reader, forty, right = Reader.load(), list(pictures(SEED)), 0
    for picture in forty:
        [reading] = reader.read(see(opened(picture.content)).digits)
        if all(answer.name == str(picture.digit) for answer in reading.answers):
            right += 1
        else:
            assert reading.doubts, f"{picture.style}: {picture.digit} taken for {reading}"
    assert right >= 0.95 * len(forty)


@needs_trained_models
def test_most_of_what_is_no_digit_is_doubted_or_refused(monkeypatch):
    monkeypatch.chdir(ROOT)
    reader, told = Reader.load(), []
    for picture in list(no_digits(seed=0))[::10]:
        try:
            told.append(any(reading.doubts for reading in reader.read(see(picture).digits)))
        except InputError:
            told.append(True)
    assert np.mean(told) > 0.7


@needs_trained_models
def test_the_command_of_the_page_prints_what_stands_there(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    made, shown = opened(two_digits_and_a_letter()), Image.open("docs/number.jpg")
    assert np.abs(np.asarray(made).astype(int) - np.asarray(shown)).mean() < 2
    page = Path("docs/predict.md").read_text(encoding="utf-8")
    [said] = re.findall(r"--explain seen.png\n(.*?)seen.png: ", page, re.DOTALL)
    result = run("docs/number.jpg")
    assert result.stdout.replace("\N{NO-BREAK SPACE}", " ") == said
    values = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], values)
    assert values["reading"].name == "4"
    assert values["reading"].doubts == ["unlike every training image for VGG"]


def test_one_digit_is_found_in_each_kind_of_picture():
    for picture in pictures(SEED, copies=1):
        [digit] = see(opened(picture.content)).digits
        rows, columns = np.nonzero(digit.image > 64)
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21, picture.style
        assert digit.image[0].max() == digit.image[-1].max() == 0, picture.style


# One preprocessing, here and on the page

FITTED = """([sources, drawings]) => {
  const { ink, digit } = new Function(sources + "; return { ink, digit };")();
  const fitted = drawings.map((strokes) => {
    const sheet = ink.sheet();
    for (const stroke of strokes) ink.draw(sheet, stroke);
    const { frame, pixels } = digit.prepare(sheet, ink.SIDE, true);
    return { frame, pixels: [...pixels], sheet: [...sheet] };
  });
  return JSON.stringify(fitted); // one text passes faster than a million numbers
}"""


@needs_chromium
def test_the_page_fits_a_digit_as_predict_does(browser):
    scripts = ROOT / "cnnpipe/report/scripts"
    sources = "".join((scripts / f"{name}.js").read_text("utf-8") for name in ("ink", "digit"))
    drawn = [drawing["strokes"] for drawing in strokes.drawings(copies=1, seed=5)[::21]]
    page = browser.new_page()
    found = json.loads(page.evaluate(FITTED, [sources, drawn]))
    page.close()
    assert len(found) == 10
    for made in found:
        sheet = np.array(made["sheet"]).reshape(336, 336)
        image, frame = fitted(sheet)
        assert [frame.left, frame.top, frame.pixel] == pytest.approx(
            [made["frame"][key] for key in ("left", "top", "pixel")]
        )
        pixels = np.array(made["pixels"]).reshape(28, 28)
        # A mean may lie between two whole numbers, and its last bit depends on the order of sums.
        assert np.abs(image.astype(int) - pixels).max() <= 1
        assert (image == pixels).mean() > 0.99
        [digit] = cut_digits(sheet)
        assert digit.frame.pixel == pytest.approx(frame.pixel, rel=0.1)


def test_an_image_of_mnists_form_is_taken_as_it_is():
    image, _ = fitted(pen(5, np.random.default_rng(0), (200, 200), 0.6, 0.09))
    for stored in (image, 255 - image):
        [digit] = see(stored).digits
        np.testing.assert_array_equal(digit.image, image)
    moved = np.roll(image, 3, axis=1)  # no longer in the middle: fitted again
    [digit] = see(moved).digits
    assert np.abs(digit.image.astype(int) - image).mean() < 12
    columns = np.average(np.mgrid[:28, :28][1] + 0.5, weights=digit.image)
    assert columns == pytest.approx(14, abs=0.05)


# Files


def drawn_three(size=(200, 160)) -> np.ndarray:
    ink = pen(3, np.random.default_rng(4), size, 0.6, 0.06)
    return (255 * mixed(plain(size, 0.9), ink, 0.1)).round().astype(np.uint8)


def saved(image: Image.Image, form: str = "PNG", **options) -> Image.Image:
    content = io.BytesIO()
    image.save(content, form, **options)
    return Image.open(content)


def turned(picture: np.ndarray) -> Image.Image:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    on_its_side = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
    return saved(on_its_side, "JPEG", quality=95, exif=exif)


WAYS = {
    "grey": lambda p: saved(Image.fromarray(p).convert("L")),
    "negative": lambda p: saved(Image.fromarray(255 - p)),
    "16 bits": lambda p: saved(Image.fromarray(p[..., 0].astype(np.uint16) * 257)),
    "palette": lambda p: saved(Image.fromarray(p).convert("P")),
    "1 bit": lambda p: saved(Image.fromarray(p).convert("1", dither=Image.Dither.NONE)),
    "JPEG of CMYK": lambda p: saved(Image.fromarray(p).convert("CMYK"), "JPEG", quality=95),
    "turned by EXIF": turned,
    "opaque alpha": lambda p: saved(Image.fromarray(p).convert("RGBA")),
    "ink alone": lambda p: saved(Image.fromarray(np.dstack([255 + 0 * p, 255 - p[..., 0]]))),
    "card on nothing": lambda p: saved(on_nothing(p)),
    "array": lambda p: p,
    "grey array": lambda p: p[..., 0],
    "large": lambda p: Image.fromarray(p).resize((1760, 2200)),
}


def on_nothing(picture: np.ndarray) -> Image.Image:
    sheet = Image.new("RGBA", (picture.shape[1] + 20, picture.shape[0] + 20))
    sheet.paste(Image.fromarray(picture), (10, 10))
    return sheet


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_same_drawing_gives_the_same_image_in_every_form(way):
    picture = drawn_three()
    [expected] = see(Image.fromarray(picture)).digits
    [digit] = see(way(picture)).digits
    assert np.abs(digit.image.astype(int) - expected.image).mean() < 6


def test_the_ink_of_a_photo_is_found_whatever_the_light():
    picture = drawn_three().astype(float)
    y, x = np.mgrid[0:1:200j, 0:1:160j]
    shaded = picture * (0.4 + 0.6 * x * y)[..., None]
    noisy = shaded + np.random.default_rng(0).normal(0, 3, shaded.shape)
    [expected], [digit] = see(drawn_three()).digits, see(noisy.clip(0, 255).astype(np.uint8)).digits
    assert np.abs(digit.image.astype(int) - expected.image).mean() < 8


def test_a_thin_pen_gets_the_width_that_mnists_pens_have():
    generator = np.random.default_rng
    thin, thick = (
        see((255 * pen(2, generator(1), (600, 600), 0.8, width)).astype(np.uint8)).digits[0]
        for width in (0.006, 0.08)
    )
    assert thin.image.max() == 255
    assert thin.image.mean() > 0.5 * thick.image.mean()


# Several digits


def laid_out(*digits: tuple[int, int, int], size=(300, 500)) -> np.ndarray:
    """Black digits on white: each (digit, top, left), 100 pixels high."""
    sheet = np.zeros(size)
    for digit, top, left in digits:
        written = strokes.written(strokes.STYLES[digit][0], 0.8, 0.07, np.random.default_rng(digit))
        ink = inked(written, (125, 125), np.random.default_rng(0))
        sheet[top : top + 125, left : left + 125] += ink
    return (255 * (1 - sheet.clip(0, 1))).astype(np.uint8)


def test_digits_are_cut_apart_in_reading_order():
    seen = see(laid_out((4, 20, 20), (2, 10, 140), (7, 25, 260), (0, 165, 15), (1, 170, 330)))
    expected = [see(laid_out((digit, 20, 20))).digits[0].image for digit in (4, 2, 7, 0, 1)]
    assert len(seen.digits) == 5
    for digit, alone in zip(seen.digits, expected, strict=True):
        assert np.abs(digit.image.astype(int) - alone).mean() < 3


def test_a_digit_in_pieces_is_one_digit():
    five = np.full((200, 200), 255, np.uint8)
    five[40:50, 100:150] = 0  # the bar, apart from the rest
    five[40:100, 80:90] = 0
    five[100:110, 80:140] = 0
    five[110:160, 130:140] = 0
    assert len(see(five).digits) == 1
    assert see(five).digits[0].box == (40, 80, 160, 150)
    broken = laid_out((3, 20, 20))
    broken[80:88] = 255
    assert len(see(broken).digits) == 1


def test_dirt_and_rules_are_no_digits():
    sheet = laid_out((3, 60, 200))
    sheet[20:22, 40:42] = 0
    sheet[250:253] = 0
    assert len(see(sheet).digits) == 1


def sheet_with(*rectangles: tuple[int, int, int, int]) -> np.ndarray:
    sheet = np.full((200, 300), 255, np.uint8)
    for top, left, bottom, right in rectangles:
        sheet[top:bottom, left:right] = 0
    return sheet


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.full((50, 50), 255, np.uint8), "^empty"),
        (np.random.default_rng(0).integers(100, 140, (200, 200, 3), np.uint8), "^empty"),
        (np.linspace(0, 255, 200).astype(np.uint8)[None].repeat(200, axis=0), "^empty"),
        (np.zeros((1, 1), np.uint8), "^empty"),
        (sheet_with((90, 50, 110, 250)), "50 % from the left and 50 % from the top is wider than"),
        (
            sheet_with((40, 100, 60, 140), (60, 100, 80, 110), (35, 142, 100, 150)),
            "may be one digit or two: write them further apart, or connect the strokes",
        ),
        (np.tile(sheet_with((2, 2, 12, 8))[:16, :12], (9, 9)), "81 pieces of ink"),
        (np.zeros((5, 5), np.float32), "an array of float32, .*expected uint8"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\); expected"),
    ],
    ids=["white", "noise", "light", "a pixel", "wide", "undecided", "text", "floats", "two planes"],
)
def test_what_cannot_be_read_is_refused(picture, message):
    with pytest.raises(InputError, match=message) as raised:
        see(picture)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"Dear network, read this.", "not readable: not a picture of the formats BMP, JPEG, PNG"),
        (next(pictures(0, 1)).content[:9000], "not readable: image file is truncated"),
    ],
)
def test_a_file_that_is_no_picture_is_named(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"photo\.jpg: {message}") as raised:
        see(path)
    assert str(raised.value).isprintable()


# Answers and doubt


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two networks of random weights, and the digits that scikit-learn has."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("lenet5", "vgg"):
        save_random_model(folder / "data/models", name)
    write_raw(folder / "data/raw", "digits", digits_files().items())
    shutil.copy(ROOT / "params.yaml", folder)
    Image.fromarray(laid_out((4, 20, 20), (2, 10, 140))).save(folder / "42.png")
    Image.fromarray(laid_out((7, 20, 20))).save(folder / "7.png")
    return folder


@pytest.fixture
def inside(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


def run(*arguments: str):
    return CliRunner().invoke(command.main, arguments)


def test_each_digit_of_each_picture_is_a_line(inside):
    shutil.rmtree(".cnnpipe", ignore_errors=True)
    result = run("42.png", "7.png")
    assert result.exit_code == 0, result.output
    first, second, third = result.stdout.splitlines()
    for line, picture in ((first, "42.png, 1 of 2: "), (second, "42.png, 2 of 2: "), (third, "7")):
        assert line.startswith(picture)
        assert "LeNet-5" in line
        assert "VGG" in line
    alone = run("7.png", "--model", "vgg").stdout
    assert "LeNet-5" not in alone

    [reading] = classify("7.png", ["data/models/vgg.safetensors"])
    network = TrainedNetwork.load("data/models/vgg.safetensors")
    image = torch.from_numpy(reading.digit.image)[None]
    expected = network.predict(image).double().softmax(1)[0].tolist()
    assert list(reading.answers[0].probabilities.values()) == pytest.approx(expected)
    assert alone.startswith(f"7.png: {int(np.argmax(expected))} (VGG ")


def test_a_picture_that_is_refused_is_named_and_the_others_are_read(inside):
    result = run("none.png", "7.png")
    assert result.exit_code == 1
    assert result.stderr == "Error: none.png: no such file\n"
    assert result.stdout.startswith("7.png: ")


def test_a_missing_model_is_named_with_the_cure(inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(str(inside / "7.png"))
    assert result.exit_code == 1
    assert "data/models/lenet5.safetensors: no such file; `dvc repro` makes it" in result.stderr


def test_without_training_images_it_says_that_it_cannot_compare(inside, tmp_path, monkeypatch):
    shutil.copytree(inside / "data/models", tmp_path / "data/models")
    monkeypatch.chdir(tmp_path)
    result = run(str(inside / "7.png"))
    assert result.exit_code == 0
    assert "data/raw: missing" in result.stderr
    assert "unlike every training image" not in result.stdout


def test_the_figure_shows_each_digit(inside, tmp_path):
    result = run("42.png", "--explain", str(tmp_path / "seen.png"))
    assert result.exit_code == 0, result.output
    assert run("42.png", "7.png", "--explain", "seen.png").exit_code == 2
    assert run("7.png", "--explain", "seen.jpg").exit_code == 2
    with Image.open(tmp_path / "seen.png") as figure:
        assert figure.width == 1245
    reader, seen = Reader.load(), see("7.png")
    drawn = draw(seen, reader.read(seen.digits), reader.networks, "7.png")
    save_png(tmp_path / "alone.png", drawn)
    with Image.open(tmp_path / "alone.png") as alone:
        assert alone.height < figure.height
    assert [text.get_text() for text in drawn.texts[2:4]] == [
        "the picture, in grey",
        "its ink, and where the 28×28 pixels lie",
    ]


def test_a_notebooks_backend_and_a_consoles_encoding_stop_nothing(inside, tmp_path):
    shutil.copy("7.png", tmp_path / "σ.png")
    around = {
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "cp1252",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # is not installed here
    }
    command = [sys.executable, "-m", "cnnpipe.predict", tmp_path / "σ.png", "--model", "lenet5"]
    command += ["--explain", tmp_path / "seen.png"]
    result = subprocess.run(command, env=os.environ | around, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/?.png: " in result.stdout.decode("cp1252")
    assert (tmp_path / "seen.png").stat().st_size > 0


def test_the_command_is_there_before_torch():
    """--help is answered at once."""
    program = "import sys, cnnpipe.predict.__main__; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_images_unlike_the_training_images_are_told(inside):
    digits = torch.from_numpy(read_raw(Path("data/raw")).train_images.copy())
    network = TrainedNetwork("lenet5", build_model("lenet5").eval(), Normalization(0.1, 0.3))
    familiarity = Familiarity.of(network, digits[:1000], digits[1000:])
    assert familiarity.is_familiar(digits[:1000]).float().mean() > 0.99
    assert familiarity.is_familiar(digits[1000:]).float().mean() == pytest.approx(0.99, abs=0.005)
    noise = torch.randint(256, (50, 28, 28), dtype=torch.uint8)
    assert not familiarity.is_familiar(noise).any()
    assert not familiarity.is_familiar(255 - digits[:50]).any()


def test_what_is_familiar_is_kept_until_weights_or_data_change(inside, tmp_path, monkeypatch):
    path, raw = Path("data/models/lenet5.safetensors"), Path("data/raw")
    first = Familiarity.load(TrainedNetwork.load(path), path, raw)
    measured = []
    monkeypatch.setattr(Familiarity, "of", lambda *args: measured.append(args) or first)
    second = Familiarity.load(TrainedNetwork.load(path), path, raw)
    assert not measured
    assert torch.equal(second.neighbours, first.neighbours)
    assert second.usual == pytest.approx(first.usual)
    other = save_random_model(tmp_path, "lenet5", seed=1)
    Familiarity.load(TrainedNetwork.load(other), other, raw)
    assert len(measured) == 1


def test_networks_of_other_data_get_the_picture_as_one_image(inside, tmp_path, monkeypatch):
    path = save_random_model(tmp_path, "lenet5")
    for picture in (drawn_three(), 255 - drawn_three()):
        Image.fromarray(picture).save(tmp_path / "three.png")
        reader = Reader([TrainedNetwork.load(path)], [None], boxed=False)
        [digit] = reader.see(tmp_path / "three.png").digits
        stored = as_stored(tmp_path / "three.png")
        lit = stored if stored[0, 0] < 128 else 255 - stored
        np.testing.assert_array_equal(digit.image, lit)


def test_networks_that_disagree_are_doubted(inside):
    reader, digits = Reader.load(), see("7.png").digits
    [reading] = reader.read(digits)
    first, second = reading.answers
    assert ("the networks disagree" in reading.doubts) == (first.name != second.name)
    for answer in (first, second):
        shown = answer.name if answer.name != reading.name else ""
        assert f"{answer.network} {shown}" in str(reading)
