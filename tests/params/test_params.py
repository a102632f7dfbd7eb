"""params.yaml: what is right loads, what is wrong ends in one line that says what is allowed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from dvc.utils.hydra import apply_overrides
from pydantic import ValidationError

from cnnpipe.params.loading import load_params
from cnnpipe.params.messages import expected
from cnnpipe.params.train import TrainParams
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params, json_schema
from tests.helpers.project import ROOT
from tests.helpers.stages import run_here
from torture.params import FILES, TEXT, TREE, Content, replaced, without, write

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def changed(key: str, value: Any) -> dict[str, Any]:
    """The parameters with one key set, as `dvc exp run -S key=value` does."""
    return replaced(tuple(key.split(".")), value)


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
    def test_recipes_of_the_race_override_train_key_by_key(self, tmp_path: Path) -> None:
        """As models do, which tests/params/test_properties.py tries on random trees."""
        content = changed("train.warmup", 0.25)
        content["race"]["recipes"][0]["vgg"]["augment"] = {"degrees": 0}
        params = load_params(Params, write(tmp_path / "p.yaml", content))
        recipe = params.race.recipes[0].vgg
        assert recipe.warmup == 0.25
        assert recipe.augment == params.train.augment.model_copy(update={"degrees": 0})

    @pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
    def test_ways_to_write_a_number(self, tmp_path: Path, text: str) -> None:
        changed_text, changes = re.subn(r"\n  lr: \S+", f"\n  lr: {text}", TEXT, count=1)
        assert changes
        assert load_params(Params, write(tmp_path / "p.yaml", changed_text)).train.lr == 0.001

    @pytest.mark.parametrize(
        ("override", "old", "new"),
        [
            ("runtime.checkpoint=60", "  checkpoint: 30 ", "  checkpoint: 60 "),
            (
                "handcrafted.transfer=[]",
                "  transfer:\n  - digits\n  - fashion_mnist\n",
                "  transfer: []\n",
            ),
        ],
    )
    def test_dvc_sets_one_value_and_changes_no_other_line(
        self, tmp_path: Path, override: str, old: str, new: str
    ) -> None:
        copy = tmp_path / "params.yaml"
        copy.write_text(TEXT, encoding="utf-8")
        apply_overrides(copy, [override])
        assert old in TEXT
        assert copy.read_text(encoding="utf-8") == TEXT.replace(old, new)

    def test_parameters_cannot_change(self) -> None:
        params = load_params(Params, ROOT / "params.yaml")
        with pytest.raises(ValidationError, match="frozen"):
            params.seed = 2  # type: ignore[misc]

    def test_loading_imports_no_torch(self) -> None:
        program = "import sys, cnnpipe.params.loading, cnnpipe.validate.schema; "
        program += "sys.exit('torch' in sys.modules)"
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
        ("train.epochs", 10**30, "train.epochs: got 1000000000000000000000000000000; expected"),
        ("seed", 2**63, "seed: got 9223372036854775808; expected an integer ≥ 0 and <"),
        ("seed", "s" * 10_000, "seed: got 'sss"),
        ("train.lr", float("nan"), "train.lr: got nan; expected a number > 0 and ≤ 1"),
        ("benchmark.seconds", float("inf"), "benchmark.seconds: got inf; expected a number > 0"),
        ("train.warmup", 1, "train.warmup: got 1; expected a number > 0 and < 1"),
        ("train.backend", "jax", "train.backend: got 'jax'; expected one of scratch, torch"),
        ("runtime.device", "gpu", r"runtime.device: got 'gpu'; expected text matching ^(auto|cpu|"),
        ("runtime.device", "cpu\n", r"runtime.device: got 'cpu\n'; expected text matching"),
        ("train.augment", 3, "train.augment: got 3; expected a mapping of degrees, translate,"),
        ("train", [], "train: got []; expected a mapping of backend, algorithm,"),
        ("models.lenet5", None, "models.lenet5: got None; expected a mapping of backend,"),
        ("data.name", "mnst", "data.name: got 'mnst'; expected one of mnist, fashion_mnist, kmni"),
        ("data.mirrors", "http://a", "data.mirrors: got 'http://a'; expected a list"),
        ("data.mirrors", ["ftp://a"], r"data.mirrors.0: got 'ftp://a'; expected text matching ^h"),
        ("models.vgg.blocks", [[8], []], "models.vgg.blocks.1: got []; expected a list of length"),
        ("models.vgg.blocks", [[8, 0]], "models.vgg.blocks.0.1: got 0; expected an integer ≥ 1"),
        ("verify.normwise", 5, "verify.normwise: got 5; expected a mapping of auto, direct, im2"),
        (
            "verify.normwise",
            {"fftt": 2},
            "verify.normwise.fftt: unknown key; did you mean fft? all",
        ),
        ("verify.normwise", {1: 2}, "verify.normwise.1: unknown key; allowed here: auto, direct"),
        (
            "race.recipes",
            [{"target": 0.9, "vgg": {"blocks": [[4]], "dropout": 0.0}}],
            "race.recipes.0.vgg.kernel_size: missing; expected one of 1, 3, 5, 7",
        ),
    ],
)
def test_bad_values(tmp_path: Path, key: str, value: Any, said: str) -> None:
    """Each form that a line can have; test_properties.py tries every key and limit."""
    assert problem(write(tmp_path / "p.yaml", changed(key, value))).startswith(said)


@pytest.mark.parametrize("key", [*Params.model_fields, "data.name", "models.lenet5", "train.lr"])
def test_missing_keys(tmp_path: Path, key: str) -> None:
    content = without(tuple(key.split(".")))
    assert problem(write(tmp_path / "p.yaml", content)).startswith(f"{key}: missing; expected ")


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_bad_files(tmp_path: Path, content: Content, said: str) -> None:
    assert problem(write(tmp_path / "p.yaml", content)).startswith(said)


class TestJsonSchema:
    def test_accepts_the_file_that_ships(self) -> None:
        jsonschema.Draft202012Validator.check_schema(json_schema())
        VALIDATOR.validate(TREE)

    def test_models_may_override_any_key_of_train(self) -> None:
        VALIDATOR.validate(changed("models.vgg.augment", {"degrees": 0}))
        VALIDATOR.validate(changed("models.lenet5", TREE["models"]["lenet5"] | TREE["train"]))

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
        assert not VALIDATOR.is_valid(changed(key, value))

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
    def test_good(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "params.yaml", TEXT)
        monkeypatch.chdir(tmp_path)
        result = run_here("validate")
        assert result.exit_code == 0, result.output
        written = json.loads((tmp_path / "params.schema.json").read_text(encoding="utf-8"))
        assert written == json_schema()
