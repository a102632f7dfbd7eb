"""params.yaml: what is right loads, what is wrong ends in one line that says what is allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from cnnpipe.params.loading import load_params
from cnnpipe.params.messages import expected
from cnnpipe.params.train import AugmentParams, TrainParams
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params, json_schema
from tests.helpers.project import ROOT
from torture.params import FILES, TEXT, Content, write
from torture.project import run_in

SMALL = {
    "seed": 1,
    "data": {
        "name": "mnist",
        "validation": 0.1,
        "mirrors": ["https://one.example/", "http://two.example"],
        "timeout": 20,
    },
    "train": {
        "backend": "scratch",
        "algorithm": "auto",
        "precision": "auto",
        "epochs": 10,
        "batch_size": 128,
        "lr": 0.004,
        "warmup": 0.3,
        "weight_decay": 0.01,
        "label_smoothing": 0.05,
        "ema_decay": 0.99,
        "augment": {"degrees": 10, "translate": 0.1, "scale": 0.1, "shear": 5},
    },
    "models": {
        "lenet5": {"activation": "relu", "pooling": "max", "label_smoothing": 0.0},
        "vgg": {"blocks": [[16, 16], [32]], "hidden": 128, "dropout": 0.3, "epochs": 8},
    },
    "visualize": {"samples": [0, 1], "mistakes": 24, "worst": 1},
    "explain": {
        "removal_images": 100,
        "patches": 3,
        "attribution": {"images": 20, "networks": 2, "window": 4},
    },
}
"""The sections that the tests below change, independent of the defaults that ship."""


def tree() -> dict[str, Any]:
    shipped = YAML(typ="safe").load(TEXT)
    return json.loads(json.dumps({**shipped, **SMALL}))


def changed(key: str, value: Any) -> dict[str, Any]:
    """The parameters with one key set, as `dvc exp run -S key=value` does."""
    result = tree()
    *sections, last = key.split(".")
    place = result
    for section in sections:
        place = place[section]
    place[last] = value
    return result


def problem(path: Path) -> str:
    """What is said of a file, without the file's name."""
    with pytest.raises(InputError) as raised:
        load_params(Params, path)
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable(), "one line, no control characters"
    line = line.removeprefix(f"{path}: ")
    assert len(line) < 400
    return line


class TestGood:
    def test_the_file_that_ships(self) -> None:
        params = load_params(Params, ROOT / "params.yaml")
        assert params.data.name == "mnist"

    def test_models_override_train_key_by_key(self, tmp_path: Path) -> None:
        params = load_params(Params, write(tmp_path / "p.yaml", tree()))
        assert (params.train.epochs, params.models.vgg.epochs, params.models.lenet5.epochs) == (
            (10, 8, 10)
        )
        assert params.models.of("lenet5").label_smoothing == 0.0
        assert params.models.of("vgg").label_smoothing == 0.05

    def test_models_override_mappings_key_by_key_too(self, tmp_path: Path) -> None:
        path = write(tmp_path / "p.yaml", changed("models.vgg.augment", {"degrees": 0}))
        augment = load_params(Params, path).models.vgg.augment
        assert augment == AugmentParams(degrees=0, translate=0.1, scale=0.1, shear=5)

    def test_recipes_of_the_race_override_train_key_by_key(self, tmp_path: Path) -> None:
        content = changed("train.warmup", 0.25)
        content["race"]["recipes"][0]["vgg"]["augment"] = {"degrees": 0}
        recipe = load_params(Params, write(tmp_path / "p.yaml", content)).race.recipes[0].vgg
        assert recipe.warmup == 0.25
        assert recipe.augment == AugmentParams(degrees=0, translate=0.1, scale=0.1, shear=5)

    @pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
    def test_ways_to_write_a_number(self, tmp_path: Path, text: str) -> None:
        path = write(tmp_path / "p.yaml", TEXT.replace("\nseed", f"\n# {text}\nseed"))
        assert load_params(Params, path)
        replaced = changed("train.lr", YAML(typ="safe").load(text))
        assert load_params(Params, write(path, replaced)).train.lr == 0.001

    def test_parameters_cannot_change(self, tmp_path: Path) -> None:
        params = load_params(Params, write(tmp_path / "p.yaml", tree()))
        with pytest.raises(ValidationError, match="frozen"):
            params.seed = 2  # type: ignore[misc]

    def test_loading_imports_no_torch(self) -> None:
        program = "import sys, cnnpipe.params; sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sede", 1, "sede: unknown key; did you mean seed? allowed here: seed, data, verify,"),
        ("xyz", 1, "xyz: unknown key; allowed here: seed, data, verify, train,"),
        ("train.epoch", 1, "train.epoch: unknown key; did you mean epochs? allowed here: backend,"),
        ("models.vgg.blockz", [], "models.vgg.blockz: unknown key; did you mean blocks? allowed"),
        ("models.vgg.activation", "relu", "models.vgg.activation: unknown key; allowed here:"),
        ("models.resnet", {}, "models.resnet: unknown key; allowed here: lenet5, vgg"),
        ("models.vgg.augment", {"shier": 1}, "models.vgg.augment.shier: unknown key; did you mean"),
        ("a\nb\x1b[31m", 1, r"'a\nb\x1b[31m': unknown key; allowed here: seed,"),
        ("k" * 10_000, 1, "'kkkk"),
        ("train.epochs", "10", "train.epochs: got '10'; expected an integer ≥ 1 and ≤ 65536"),
        ("train.epochs", 10.0, "train.epochs: got 10.0; expected an integer ≥ 1"),
        ("train.epochs", True, "train.epochs: got True; expected an integer ≥ 1"),
        ("train.epochs", 10**30, "train.epochs: got 1000000000000000000000000000000; expected"),
        ("seed", 2**63, "seed: got 9223372036854775808; expected an integer ≥ 0 and <"),
        ("seed", "s" * 10_000, "seed: got 'sss"),
        ("train.lr", float("nan"), "train.lr: got nan; expected a number > 0 and ≤ 1"),
        ("benchmark.seconds", float("inf"), "benchmark.seconds: got inf; expected a number > 0"),
        ("train.warmup", 1, "train.warmup: got 1; expected a number > 0 and < 1"),
        ("train.ema_decay", 1.0, "train.ema_decay: got 1.0; expected a number ≥ 0 and < 1"),
        ("train.backend", "jax", "train.backend: got 'jax'; expected one of scratch, torch"),
        ("runtime.device", "gpu", r"runtime.device: got 'gpu'; expected text matching ^(auto|cpu|"),
        ("runtime.device", "cpu\n", r"runtime.device: got 'cpu\n'; expected text matching"),
        ("train.augment", 3, "train.augment: got 3; expected a mapping of degrees, translate,"),
        ("train", [], "train: got []; expected a mapping of backend, algorithm,"),
        ("models.lenet5", None, "models.lenet5: got None; expected a mapping of activation,"),
        ("data.name", "mnst", "data.name: got 'mnst'; expected one of mnist, fashion_mnist, kmni"),
        ("data.mirrors", "http://a", "data.mirrors: got 'http://a'; expected a list"),
        ("data.mirrors", ["ftp://a"], r"data.mirrors.0: got 'ftp://a'; expected text matching ^h"),
        ("models.vgg.blocks", [[8], []], "models.vgg.blocks.1: got []; expected a list of length"),
        ("models.vgg.blocks", [[8, 0]], "models.vgg.blocks.0.1: got 0; expected an integer ≥ 1"),
        ("verify.normwise", 5, "verify.normwise: got 5; expected a mapping of auto, direct, im2"),
        ("verify.normwise", {"tap": 2}, "verify.normwise.tap: unknown key; did you mean taps? all"),
        ("verify.normwise", {1: 2}, "verify.normwise.1: unknown key; allowed here: auto, direct"),
        ("train.batch_size", 1, "train.batch_size: got 1; expected an integer ≥ 2"),
        ("data.validation", 1, "data.validation: got 1; expected a number > 0 and < 1"),
        ("data.timeout", 0, "data.timeout: got 0; expected a number > 0 and ≤ 600"),
        ("benchmark.batch_size", 0, "benchmark.batch_size: got 0; expected an integer ≥ 1"),
        ("race.seeds", 1, "race.seeds: got 1; expected an integer ≥ 2"),
        (
            "race.recipes",
            [{"target": 1.0, "vgg": {"blocks": [[4]], "hidden": 4, "dropout": 0.0}}],
            "race.recipes.0.target: got 1.0; expected a number > 0 and < 1",
        ),
        (
            "race.recipes",
            [{"target": 0.9, "vgg": {"blocks": [[4]], "dropout": 0.0}}],
            "race.recipes.0.vgg.hidden: missing; expected an integer",
        ),
    ],
)
def test_bad_values(tmp_path: Path, key: str, value: Any, said: str) -> None:
    assert problem(write(tmp_path / "p.yaml", changed(key, value))).startswith(said)


@pytest.mark.parametrize("key", [*Params.model_fields, "data.name", "models.vgg", "train.lr"])
def test_missing_keys(tmp_path: Path, key: str) -> None:
    content = tree()
    *sections, last = key.split(".")
    place = content
    for section in sections:
        place = place[section]
    del place[last]
    assert problem(write(tmp_path / "p.yaml", content)).startswith(f"{key}: missing; expected ")


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_bad_files(tmp_path: Path, content: Content, said: str) -> None:
    assert problem(write(tmp_path / "p.yaml", content)).startswith(said)


class TestJsonSchema:
    def test_accepts_the_file_that_ships(self) -> None:
        jsonschema.Draft202012Validator.check_schema(json_schema())
        jsonschema.validate(YAML(typ="safe").load(TEXT), json_schema())

    def test_models_may_override_any_key_of_train(self) -> None:
        jsonschema.validate(changed("models.vgg.augment", {"degrees": 0}), json_schema())
        content = tree()
        content["models"]["lenet5"] |= content["train"]
        jsonschema.validate(content, json_schema())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("sede", 1),
            ("train.epochs", 0),
            ("train.augment", {"degrees": 0}),
            ("models.vgg", {}),
            ("models.vgg.augment", {"degree": 0}),
        ],
    )
    def test_refuses_what_loading_refuses(self, key: str, value: Any) -> None:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed(key, value), json_schema())

    def test_every_parameter_can_be_described(self) -> None:
        def leaves(node: dict[str, Any]) -> list[dict[str, Any]]:
            below = [
                *node.get("properties", {}).values(),
                *([node["items"]] if "items" in node else []),
            ]
            return [node, *(leaf for child in below for leaf in leaves(child))]

        for definition in [json_schema(), *json_schema()["$defs"].values()]:
            for leaf in leaves(definition):
                assert "$ref" in leaf or expected(leaf)

    def test_descriptions_reach_the_editor(self) -> None:
        section = json_schema()["$defs"][TrainParams.__name__]
        assert section["properties"]["lr"]["description"].startswith("Learning rate at the peak")


class TestValidateStage:
    def test_good(self, tmp_path: Path) -> None:
        write(tmp_path / "params.yaml", TEXT)
        result = run_in(tmp_path, "-m", "stages.validate")
        assert result.returncode == 0, result.stderr
        written = json.loads((tmp_path / "params.schema.json").read_text(encoding="utf-8"))
        assert written == json_schema()
