"""Results of another data set are removed, with all that was computed from them, and no more."""

from hashlib import md5
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cnnpipe.params.data import DataParams
from cnnpipe.params.loading import load_params
from cnnpipe.validate.other_data import remove_results_of_other_data
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT

STAGES = {
    "download": (["stages/download.py"], ["data/raw"]),
    "verify": (["cnnpipe/verify"], ["reports/verify.json"]),
    "train@vgg": (["data/raw", "reports/verify.json"], ["data/models/vgg.safetensors"]),
    "evaluate@vgg": (["data/models/vgg.safetensors"], ["reports/evaluation/vgg.json"]),
    # These read the folder of what several stages make.
    "summarize": (["reports/evaluation"], ["reports/metrics.json"]),
    "visualize@vgg": (["data/models/vgg.safetensors"], ["reports/figures/vgg"]),
    "benchmark": (["stages/benchmark.py"], ["reports/benchmark.json"]),
}
OF_THE_DATA = {"train@vgg", "evaluate@vgg", "summarize", "visualize@vgg"}


@pytest.fixture
def outs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The output of each stage, in a project that has run on MNIST with the first mirror."""
    monkeypatch.chdir(tmp_path)
    lock = {
        name: {
            "cmd": name,
            "deps": [{"path": path} for path in deps],
            "outs": [{"path": path} for path in outs],
        }
        for name, (deps, outs) in STAGES.items()
    }
    lock["download"]["params"] = {"params.yaml": {"data.name": "mnist", "data.mirrors": ["a"]}}
    YAML().dump({"schema": "2.0", "stages": lock}, Path("dvc.lock"))
    made = {name: tmp_path / outs[0] for name, (_, outs) in STAGES.items()}
    for path in made.values():
        file = path if path.suffix else path / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("result")
    return made


def data(**changes: object) -> DataParams:
    return load_params(Params, ROOT / "params.yaml").data.model_copy(update=changes)


def test_results_of_another_data_set_are_removed(outs: dict[str, Path]) -> None:
    removed = remove_results_of_other_data(data(name="digits"))
    assert len(removed) == 4
    assert {name for name, path in outs.items() if not path.exists()} == OF_THE_DATA
    assert set(YAML(typ="safe").load(Path("dvc.lock"))["stages"]) == set(STAGES) - OF_THE_DATA


def test_results_of_the_same_data_set_stay_whatever_mirror_it_comes_from(
    outs: dict[str, Path],
) -> None:
    before = Path("dvc.lock").read_bytes()
    assert remove_results_of_other_data(data(name="mnist", mirrors=["b"])) == []
    assert all(path.exists() for path in outs.values())
    assert Path("dvc.lock").read_bytes() == before
    Path("dvc.lock").write_text("schema: '2.0'\n")  # by scripts/repro.py, for an incomplete file
    assert remove_results_of_other_data(data(name="digits")) == []
    Path("dvc.lock").unlink()  # without DVC, nothing is known to be of other data
    assert remove_results_of_other_data(data(name="digits")) == []


def test_another_content_of_ones_own_data_is_another_data_set(outs: dict[str, Path]) -> None:
    Path("reports/validate").mkdir()
    own = Path("reports/validate/folder.json")
    own.write_bytes(b"null\n")
    lock = YAML(typ="safe").load(Path("dvc.lock"))
    lock["stages"]["download"]["deps"] = [
        {"path": "reports/validate/folder.json", "hash": "md5", "md5": md5(b"null\n").hexdigest()}
    ]
    YAML().dump(lock, Path("dvc.lock"))
    assert remove_results_of_other_data(data()) == []
    own.write_bytes(b"{}\n")
    assert len(remove_results_of_other_data(data())) == 4
