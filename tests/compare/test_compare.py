"""Two runs on one page, which needs no network: results from git and DVC on identical scales."""

import base64
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cnnpipe.compare import differences
from cnnpipe.compare.__main__ import main
from cnnpipe.compare.differences import compare
from cnnpipe.compare.revisions import Revision, read_revision
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import build_model, save_model
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.report.page import environment
from cnnpipe.system.errors import InputError
from tests.helpers.chromium_page import (
    DESK,
    PHONE,
    assert_accessible,
    assert_fits,
    expect,
    needs_chromium,
    opened,
)
from tests.helpers.project import ROOT
from tests.helpers.small_project import small_project
from tests.helpers.stages import dvc_here
from tests.helpers.written_reports import Document, write_reports

EVIL = "<script>alert(1)</script>"


class Project:
    """A git and DVC repository with the results of two runs, the second one on a branch."""

    def __init__(self, folder: Path) -> None:
        self.repository = small_project(folder, {".gitignore": "/reports/predictions\n"})
        self.folder = folder
        write_reports(folder / "reports")
        self.set_params(epochs=3)
        self.save_model(seed=0)
        # Predictions are in DVC's cache, as in the pipeline; all the rest is in git here.
        dvc_here(self.repository, "add", "--quiet", "reports/predictions")
        self.repository.commit(f"First run {EVIL}")
        self.repository.run("git", "checkout", "--quiet", "-b", "longer")
        self.set_params(epochs=6)
        self.save_model(seed=1)
        self.answer_like_vgg()
        dvc_here(self.repository, "add", "--quiet", "reports/predictions")
        self.repository.commit("Train longer")

    def read(self, revision: str) -> Revision:
        return read_revision(self.folder, revision, MODEL_NAMES)

    def set_params(self, epochs: int) -> None:
        text = (
            f'seed: 1\nnote: "{EVIL}{epochs}"\ntrain:\n  epochs: {epochs}\n'
            "models:\n  lenet5: {}\n  vgg: {epochs: 9}\nrace:\n  recipes:\n  - blocks: [[8]]\n"
        )
        (self.folder / "params.yaml").write_text(text, encoding="utf-8")

    def save_model(self, seed: int) -> None:
        torch.manual_seed(seed)
        path = self.folder / "data" / "models" / "lenet5.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(path, build_model("lenet5"), "lenet5", {}, Normalization(0, 1))

    def answer_like_vgg(self) -> None:
        """LeNet-5 is wrong on 1, 4 and 9; VGG on 9 alone."""
        reports = self.folder / "reports"
        for folder, suffix in (("evaluation", "json"), ("predictions", "csv")):
            shutil.copy(reports / folder / f"vgg.{suffix}", reports / folder / f"lenet5.{suffix}")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def revisions(project) -> tuple[Revision, Revision]:
    return project.read("main"), project.read("longer")


@pytest.fixture(scope="module")
def comparison(revisions):
    return compare(*revisions)


@pytest.fixture(scope="module")
def page(comparison) -> str:
    template = environment(ROOT / "cnnpipe" / "compare").get_template("comparison.html.j2")
    return template.render(comparison=comparison)


@pytest.fixture(scope="module")
def file(page, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "compare.html"
    path.write_text(page, encoding="utf-8")
    return path


def test_a_revision_is_read_without_touching_the_workspace(project):
    before = project.repository.run("git", "status", "--porcelain").stdout
    revision = project.read("main")
    assert revision.params["models.lenet5.epochs"] == 3
    assert revision.params["race.recipes.0.blocks"] == [[8]]
    assert revision.message.startswith("First run")
    assert revision.models["lenet5"].evaluation["test_errors"] == 3
    assert (revision.models["lenet5"].predictions["prediction"] != np.arange(10)).sum() == 3
    assert list(revision.models["lenet5"].kernels) == ["c1", "c3", "c5"]
    assert project.repository.run("git", "status", "--porcelain").stdout == before
    workspace = project.read("workspace")
    assert (workspace.commit, workspace.message) == ("", "")
    assert workspace.models["lenet5"].evaluation["test_errors"] == 1


def test_an_experiment_is_a_revision_by_its_name(project):
    project.set_params(epochs=9)
    dvc_here(project.repository, "exp", "save", "--quiet", "--name", "my-experiment")
    project.repository.run("git", "checkout", "--quiet", "params.yaml")
    revision = project.read("my-experiment")
    assert revision.params["models.lenet5.epochs"] == 9
    assert revision.message == "a DVC experiment"
    assert len(revision.commit) == 7
    assert revision.models["vgg"].predictions is not None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evaluation/lenet5.json", '{"macs": ', "damaged: not JSON"),
        ("evaluation/lenet5.json", '{"macs": 1}', "lacks test_accuracy, test_errors"),
        ("evaluation/lenet5.json", "[1]", "lacks test_accuracy"),
        ("predictions/lenet5.csv", "index,label\n", "lacks prediction; another version of cnnpipe"),
        ("figures/lenet5.json", '{"figures": []}', "lacks title"),
    ],
)
def test_a_damaged_file_or_one_of_another_schema_is_named_with_its_revision(
    project, file, content, message
):
    path = project.folder / "reports" / file
    good = path.read_bytes()
    path.unlink()  # it may be a link into DVC's cache
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="^" + re.escape(f"workspace: reports/{file}: {message}")):
        project.read("workspace")
    path.write_bytes(good)


def test_only_what_differs_is_listed_as_it_ran(comparison):
    assert comparison.params == [
        ("note", f"{EVIL}3", f"{EVIL}6"),
        ("models.lenet5.epochs", "3", "6"),  # VGG has its own
    ]
    _, vgg = comparison.models
    assert vgg.verdict.text == "main and longer classify the same of 10 test images correctly."
    assert vgg.changed == []
    assert (vgg.same, vgg.pairs) == (True, [])


def test_differences_have_an_interval_and_the_exact_test(comparison):
    lenet5, _ = comparison.models
    rows = {label: cells for label, *cells in lenet5.rows}
    # b = 2, c = 0, n = 10: (2 ± 1.96 · √(3 − 4/12)) / 12
    assert rows["Accuracy"][2].replace("\N{NO-BREAK SPACE}", " ") == (
        "+20.00 points (95 % interval −10.01 to 43.34)"
    )
    assert rows["Errors"] == ["3", "1", "−2"]
    assert rows["Parameters"] == ["61,706", "61,706", "0"]
    assert lenet5.verdict.kind == "not decided"  # p = 2 · (1/2)² = 0.5
    text = lenet5.verdict.text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith(
        "longer is better: of 10 test images, main alone classifies 0 correctly and longer alone 2 "
        "(exact McNemar test, p = 0.500). Chance alone"
    )
    changed = [(image.index, image.label, image.answers) for image in lenet5.changed]
    assert changed == [(1, "1", ("2", "1")), (4, "4", ("5", "4"))]


@pytest.fixture
def without_figures(monkeypatch):
    """For tests that look at none: `comparison` has them."""
    monkeypatch.setattr(differences, "draw_pairs", lambda one, other, names: [])


def test_images_whose_answer_changed_are_shown(revisions, without_figures):
    images = np.zeros((10, 28, 28), np.uint8)
    images[4, :14] = 255
    one, other = (replace(revision, test_images=images) for revision in revisions)
    shown = {image.index: image.uri for image in compare(one, other).models[0].changed}
    content = base64.b64decode(shown[4].removeprefix("data:image/webp;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)))[..., 0], 255 - images[4])


def compare_lenet5(one: Revision, other: Revision, **columns: object):
    """LeNet-5 compared, after columns of the other one's predictions are replaced."""
    lenet5 = other.models["lenet5"]
    lenet5 = replace(lenet5, predictions=lenet5.predictions.assign(**columns))
    one = replace(one, models={"lenet5": one.models["lenet5"]})
    [model] = compare(one, replace(other, models={"lenet5": lenet5})).models
    return model


def test_equal_accuracies_are_not_called_better(revisions, without_figures):
    # LeNet-5 on main is wrong on 1, 4 and 9; so is this, on 0, 2 and 9.
    answers = [3, 1, 3, *range(3, 9), 3]
    lenet5 = compare_lenet5(*revisions, prediction=answers)
    assert lenet5.verdict.kind == "measured"
    assert lenet5.verdict.text.replace("\N{NO-BREAK SPACE}", " ") == (
        "Both are equally good: of 10 test images, main alone classifies 2 correctly and longer "
        "alone 2 (exact McNemar test, p = 1.000)."
    )


def test_runs_on_different_images_are_not_compared(revisions, without_figures):
    lenet5 = compare_lenet5(*revisions, label=range(9, -1, -1))
    assert "different test images" in lenet5.verdict.text
    assert "interval" not in lenet5.rows[0][3]


def test_without_predictions_in_the_cache_the_rest_is_compared(project, tmp_path, without_figures):
    copy = tmp_path / "copy"
    shutil.copytree(project.folder, copy)
    shutil.rmtree(copy / ".dvc" / "cache")
    revision = read_revision(copy, "main", ["lenet5"])
    assert revision.models["lenet5"].predictions is None
    [lenet5] = compare(revision, revision).models
    assert "the predictions of main and main are not in DVC’s cache" in lenet5.verdict.text


def test_figures_that_both_have_are_paired(comparison):
    lenet5, _ = comparison.models
    shared = ["Learning curves", "Confusion", "Reliability"]
    kernels = ["Kernels of c1", "Kernels of c3", "Kernels of c5"]
    assert [pair.title for pair in lenet5.pairs] == shared + kernels
    assert all(pair.same_size for pair in lenet5.pairs)
    assert lenet5.pairs[3].one.uri != lenet5.pairs[3].other.uri


def test_text_from_git_and_params_is_escaped(page):
    document = Document(page)
    assert len(document.all("script")) == 1
    assert EVIL not in re.sub(r"&lt;script&gt;", "", page)
    assert f"First run {EVIL}" in document.text
    for tag, attributes in document.elements:
        for name, value in attributes.items():
            if name == "src" or (tag, name) == ("link", "href"):
                assert (value or "").startswith("data:")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "nope: no such revision; expected"),
        ("--help", "no such revision"),
        ("", "an empty name: no such"),
        ("main:params.yaml", "no such revision"),
        ("main^{tree}", "no such revision"),
    ],
)
def test_a_bad_revision_is_one_line(project, name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        project.read(name)


def test_a_revision_without_results_is_one_line(project):
    project.repository.run("git", "checkout", "--quiet", "--orphan", "empty")
    project.repository.run("git", "rm", "-r", "--quiet", "--cached", ".")
    project.repository.run("git", "commit", "--quiet", "--allow-empty", "--message", "Nothing")
    project.repository.run("git", "checkout", "--quiet", "--force", "longer")
    with pytest.raises(InputError, match="empty: has no reports/evaluation"):
        project.read("empty")


def test_the_command_writes_one_page_and_the_same_one_again(project, page, monkeypatch):
    monkeypatch.chdir(project.folder)
    result = CliRunner().invoke(main, ["main", "longer", "--out", "a.html"])
    assert "LeNet-5: +20.00 points" in result.output
    written = (project.folder / "a.html").read_text(encoding="utf-8")
    assert written == page
    assert len(written.encode()) < 5_000_000


@pytest.mark.parametrize("folder", ["project", "nowhere"])
def test_the_command_ends_in_one_line_and_not_zero(project, tmp_path, folder, monkeypatch):
    monkeypatch.chdir(project.folder if folder == "project" else tmp_path)
    result = CliRunner().invoke(main, ["main", "no-such-branch"])
    assert result.exit_code == 1
    assert re.fullmatch("Error: .*\n", result.stderr)


@needs_chromium
def test_figures_stand_below_each_other_and_alternate_whole(browser, file):
    with opened(browser, file, stopped=True) as page:
        assert page.locator("#vgg").bounding_box()["height"] < 300, "it is identical in both"
        figure = page.locator(".pair").first
        one, other = figure.locator(".one"), figure.locator(".other")
        button = figure.get_by_role("button", name="Alternate")
        first, second = one.bounding_box(), other.bounding_box()
        assert second["y"] >= first["y"] + first["height"]
        button.press("Enter")
        expect(button).to_have_attribute("aria-pressed", "true")
        assert one.bounding_box() == other.bounding_box()
        for shown, hidden in ((one, other), (other, one)) * 2:  # each is seen for 700 ms
            page.clock.run_for(650)
            expect(shown).to_be_visible()
            expect(hidden).to_be_hidden()
            page.clock.run_for(50)
        button.press("Enter")
        expect(button).to_have_attribute("aria-pressed", "false")
        page.clock.run_for(1500)
        expect(one).to_be_visible()
        expect(other).to_be_visible()


@needs_chromium
def test_on_a_wide_screen_all_begins_at_the_same_place(browser, file):
    with opened(browser, file, viewport={"width": 1900, "height": 900}) as page:
        places = ("h1", "header + nav a", "#parameters h2", "footer p")
        assert len({page.locator(place).first.bounding_box()["x"] for place in places}) == 1


@needs_chromium
def test_without_javascript_one_figure_is_below_the_other(browser, file):
    with opened(browser, file, java_script_enabled=False) as page:
        figure = page.locator(".pair").first
        one, other = (figure.locator(f".{side}").bounding_box() for side in ("one", "other"))
        assert other["y"] >= one["y"] + one["height"]
        expect(figure.locator(".controls")).to_be_hidden()


@needs_chromium
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_fits_and_axe_finds_no_violation(browser, file, viewport):
    with opened(browser, file, viewport=viewport) as page:
        assert_fits(page)
        assert_accessible(page)
