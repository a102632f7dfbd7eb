"""The race to an accuracy: the clock, the looks, the rule that stops, and the statistics."""

import itertools
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.params.loading import load_params
from cnnpipe.params.race import RaceParams
from cnnpipe.race import contestants as race
from cnnpipe.race import tutorial
from cnnpipe.race.contestants import (
    Clock,
    Watch,
    entries,
    run_recipe,
    run_tutorial,
    seconds_to,
    summarize,
    table,
    with_runs,
)
from cnnpipe.race.tutorial import Digits, build_network, train_tutorial
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from tests.helpers.stages import digits_project

CPU = torch.device("cpu")


def split(count: int, seed: int = 0) -> Split:
    """Noise, half of it with a bright upper half, which is the label."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, (count, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 1, :14] += 150
    return Split(images, labels)


def run(seed: int, *looks: tuple[float, float], warmup: float = 0.5) -> dict:
    return {
        "seed": seed,
        "warmup_seconds": warmup,
        "looks": [
            {"epoch": epoch, "seconds": seconds, "accuracy": accuracy}
            for epoch, (seconds, accuracy) in enumerate(looks, start=1)
        ],
    }


@pytest.fixture
def params() -> RaceParams:
    """One recipe of one small network for two epochs of four steps."""
    content = load_params(Params, ROOT / "params.yaml").race
    recipe = content.recipes[0]
    small = {"blocks": [[2]], "hidden": 4, "epochs": 2, "batch_size": 16}
    vgg = recipe.vgg.model_copy(update=small)
    return content.model_copy(update={"recipes": [recipe.model_copy(update={"vgg": vgg})]})


class TestClock:
    def test_it_does_not_run_between_stop_and_start(self, monkeypatch):
        times = iter([10.0, 12.5, 100.0, 101.0])  # 2.5 s, a pause, 1 s
        monkeypatch.setattr(race.time, "perf_counter", lambda: next(times))
        clock = Clock(CPU)
        clock.start()
        assert clock.stop() == 2.5
        clock.start()
        assert clock.stop() == 3.5

    def test_measuring_takes_no_time_and_counts_correct_answers(self, monkeypatch):
        ticks = itertools.count()
        monkeypatch.setattr(race.time, "perf_counter", lambda: float(next(ticks)))

        class Always(nn.Module):
            """Answers class 1 for every image, which is right for every other one."""

            def forward(self, images):
                next(ticks)  # a second passes
                return torch.tensor([0.0, 1.0]).expand(len(images), 2)

        watch = Watch(split(10), Normalization(0.5, 0.5))
        watch.clock.start()  # 0
        watch.look(Always(), 1)  # stop at 1; the look ends after 2; start at 3
        watch.look(Always(), 2)  # stop at 4: (1 − 0) + (4 − 3)
        assert watch.looks == [
            {"epoch": 1, "seconds": 1.0, "accuracy": 0.5},
            {"epoch": 2, "seconds": 2.0, "accuracy": 0.5},
        ]


class TestRuns:
    @pytest.mark.parametrize("backend", ["scratch", "torch"])
    def test_a_recipe_is_measured_after_each_epoch(self, params, backend):
        result = run_recipe(params.recipes[0], backend, split(64), split(20, 1), seed=3)
        assert result["seed"] == 3
        assert result["warmup_seconds"] > 0
        assert [look["epoch"] for look in result["looks"]] == [1, 2]
        assert 0 < result["looks"][0]["seconds"] < result["looks"][1]["seconds"]

    def test_a_seed_gives_the_same_accuracies_again(self, params):
        first, second = (
            run_recipe(params.recipes[0], "torch", split(64), split(200, 1), seed=3)
            for _ in range(2)
        )
        accuracies = [[look["accuracy"] for look in run["looks"]] for run in (first, second)]
        assert accuracies[0] == accuracies[1]

    def test_the_tutorial_stops_at_its_target(self):
        training, test = split(128), split(20, 1)
        assert len(run_tutorial(0.0, training, test, seed=0, epochs=3)["looks"]) == 1

    def test_the_tutorial_ends_at_its_last_epoch(self):
        result = run_tutorial(1.1, split(64), split(20, 1), seed=0, epochs=2)
        assert [look["epoch"] for look in result["looks"]] == [1, 2]
        assert seconds_to(1.1, result) is None


class TestTutorial:
    def test_its_network_is_the_examples(self):
        network = build_network()
        # 32·(9 + 1) + 64·(32·9 + 1) + 128·(64·12·12 + 1) + 10·(128 + 1)
        assert sum(weight.numel() for weight in network.parameters()) == 1_199_882
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)

    def test_its_images_are_normalised_as_the_batches_are(self):
        data = split(4)
        expected = tutorial.NORMALIZATION(data.images)
        for index, (image, label) in enumerate(map(Digits(data).__getitem__, range(4))):
            torch.testing.assert_close(image, expected[index])
            assert label == data.labels[index]

    def test_it_learns(self):
        network, data = build_network(), split(256)
        assert list(train_tutorial(network, data, seed=0, epochs=1)) == [1]
        network.eval()
        predictions = network(tutorial.NORMALIZATION(data.images)).argmax(dim=1)
        assert (predictions == data.labels).float().mean() > 0.9


class TestStatistics:
    def test_the_first_measurement_that_reaches_the_target_counts(self):
        assert seconds_to(0.99, run(1, (5.0, 0.98), (10.0, 0.99), (15.0, 0.985))) == 10.0
        assert seconds_to(0.99, run(1, (5.0, 0.98))) is None

    def test_by_hand(self):
        # Seconds 8, 10, 12: mean 10, sd √((4 + 0 + 4)/2) = 2. The fourth run misses the target.
        runs = [
            run(1, (4.0, 0.97), (8.0, 0.990)),
            run(2, (4.0, 0.97), (10.0, 0.992)),
            run(3, (4.0, 0.97), (12.0, 0.991), warmup=1.5),
            run(4, (4.0, 0.97), (12.0, 0.987)),
        ]
        summary = summarize(0.99, runs)
        assert (summary["runs"], summary["reached"]) == (4, 3)
        assert summary["seconds"] == {"mean": 10.0, "sd": 2.0}
        assert summary["final_accuracy"]["mean"] == pytest.approx(0.99)
        # deviations 0, 2, 1, −3 thousandths: √(14/3) = 2.160
        assert summary["final_accuracy"]["sd"] == pytest.approx(0.00216, abs=1e-6)
        assert summary["warmup_seconds"] == {"mean": 0.75, "sd": 0.5}


def test_the_table():
    raced = [
        {"contestant": "own", "target": 0.99, "runs": [run(1, (8.0, 0.99)), run(2, (12.0, 0.99))]},
        {"contestant": "torch", "target": 0.99, "runs": []},
        {"contestant": "own", "target": 0.995, "runs": [run(1, (20.0, 0.994))]},
        {"contestant": "tutorial", "target": 0.99, "runs": [run(1, (210.0, 0.99))]},
    ]
    assert table(raced).splitlines()[2:] == [
        "| 99 % | own | 10.0 ± 2.8 | 2 of 2 | 99.00 ± 0.00 | 21.0 | 0.5 ± 0.0 |",
        "| 99.5 % | own | not reached | 0 of 1 | 99.40 | – | 0.5 |",
        "| 99 % | tutorial | 210.0 | 1 of 1 | 99.00 | 1.0 | 0.5 |",
    ]


class TestEarlierRuns:
    def test_runs_are_read_back_from_the_file(self, params, tmp_path):
        raced = entries(params)
        assert [entry["contestant"] for entry in raced] == ["own", "torch", "tutorial"]
        raced[0]["runs"].append(run(1, (8.0, 0.99)))
        save_json(tmp_path / "race.json", raced)
        again = with_runs(entries(params), load_json(tmp_path / "race.json"), seeds=[1, 2])
        assert again == raced

    def test_runs_with_other_settings_or_seeds_are_ignored(self, params):
        earlier = entries(params)
        for entry in earlier:
            entry["runs"] = [run(1, (8.0, 0.99)), run(7, (8.0, 0.99))]
        earlier[0]["settings"]["lr"] *= 2
        again = with_runs(entries(params), earlier, seeds=[1, 2])
        assert [[run["seed"] for run in entry["runs"]] for entry in again] == [[], [1], [1]]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project with the digits that need no network, and a race of one epoch and two seeds."""
    recipe = load_params(Params, ROOT / "params.yaml").race.recipes[0].model_dump()
    recipe["vgg"] |= {"blocks": [[2]], "hidden": 4, "epochs": 1}
    digits_project(tmp_path, {"race": {"seeds": 2, "recipes": [recipe]}})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*options: str) -> Result:
    return CliRunner().invoke(import_module("scripts.race").main, options)


def test_the_command_keeps_finished_runs(folder):
    results = folder / "reports" / "race.json"
    looked = command("--held-out", "--only", "torch")
    assert "torch for 99.0%, seed 2: " in looked.output
    assert not results.exists(), "validation is no result"

    assert command("--only", "own").exit_code == 0
    content = load_json(results)
    [own] = content["entries"]
    assert [run["seed"] for run in own["runs"]] == [1, 2]
    assert content["machine"]["threads"] == 1
    assert content["machine"]["omp_wait_policy"], "threads wait as in the pipeline"

    own["runs"][0]["looks"][0]["seconds"] = 1234.5
    del own["runs"][1]  # as if it had been interrupted
    save_json(results, content)
    told = command("--only", "own").stdout
    assert "seed 2: " in told
    assert "seed 1: " not in told
    [again] = load_json(results)["entries"]
    assert again["runs"][0] == own["runs"][0]
    assert [run["seed"] for run in again["runs"]] == [1, 2]

    assert command("--fresh", "--only", "own").exit_code == 0
    [fresh] = load_json(results)["entries"]
    assert fresh["runs"][0]["looks"][0]["seconds"] < 1234.5

    save_json(results, content | {"machine": content["machine"] | {"threads": 99}})
    program = [sys.executable, ROOT / "scripts" / "race.py", "--only", "own"]
    refused = subprocess.run(program, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "another machine" in refused.stderr
    assert "Traceback" not in refused.stderr
