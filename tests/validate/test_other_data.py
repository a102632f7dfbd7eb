"""Results of another data set are removed, with all that was computed from them, and no more."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cnnpipe.params.data import DatasetName
from cnnpipe.validate.other_data import FOLDER, remove_results_of_other_data

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
    """The output of each stage, in a project that has run on a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    lock = {
        name: {
            "cmd": name,
            "deps": [{"path": path} for path in deps],
            "outs": [{"path": path} for path in outs],
        }
        for name, (deps, outs) in STAGES.items()
    }
    lock["download"]["params"] = {"params.yaml": {"data.name": "folder"}}
    lock["download"]["deps"] = [{"path": FOLDER, "md5": "37a6259cc0c1dae299a7866489dff0bd"}]
    Path(FOLDER).parent.mkdir(parents=True)
    Path(FOLDER).write_text("null")  # its MD5 is in the lock
    YAML().dump({"schema": "2.0", "stages": lock}, Path("dvc.lock"))
    made = {name: tmp_path / outs[0] for name, (_, outs) in STAGES.items()}
    for path in made.values():
        file = path if path.suffix else path / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("result")
    return made


@pytest.mark.parametrize(("name", "content"), [("digits", "null"), ("folder", "[]")])
def test_results_of_another_data_set_are_removed(
    outs: dict[str, Path], name: DatasetName, content: str
) -> None:
    Path(FOLDER).write_text(content)
    assert len(remove_results_of_other_data(name)) == 4
    assert {name for name, path in outs.items() if not path.exists()} == OF_THE_DATA
    assert set(YAML(typ="safe").load(Path("dvc.lock"))["stages"]) == set(STAGES) - OF_THE_DATA


def test_results_of_the_same_data_set_stay(outs: dict[str, Path]) -> None:
    before = Path("dvc.lock").read_bytes()
    assert remove_results_of_other_data("folder") == []
    assert all(path.exists() for path in outs.values())
    assert Path("dvc.lock").read_bytes() == before
    Path("dvc.lock").unlink()  # without DVC, nothing is known to be of other data
    assert remove_results_of_other_data("digits") == []
