"""The full budget of the claims: its settings, and what replications say about each other."""

import json

import numpy as np
import pytest
from dvc.repo import Repo

from cnnpipe.findings.estimates import Estimate
from cnnpipe.params.loading import load_params, read_yaml
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params
from scripts import claims
from tests.helpers.project import ROOT

MORE_RUNS = {"principles.sharing.runs": 9}


def test_every_setting_is_a_key_of_params_and_enlarges_it():
    overrides = read_yaml(ROOT / claims.SETTINGS, "settings")
    full = load_params(Params, ROOT / "params.yaml", overrides=overrides)
    usual = load_params(Params, ROOT / "params.yaml")
    for key in overrides:
        large, small = full, usual
        for part in key.split("."):
            large, small = getattr(large, part), getattr(small, part)
        size = len if isinstance(large, list) else float
        assert size(large) > size(small), key


def test_a_setting_that_is_no_key_of_params_is_refused():
    with pytest.raises(InputError, match=r"^principles\.sharing\.seeds: expected a dotted key"):
        load_params(Params, ROOT / "params.yaml", overrides={"principles.sharing.seeds": 9})


def test_finished_runs_count_until_something_changes_that_they_depend_on(tmp_path, monkeypatch):
    for path in ("cnnpipe/principles/sharing.py", "cnnpipe/report/page.py", "data/raw/labels"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("before")
    stages = {
        name: {"cmd": "-", "deps": ["cnnpipe/principles", "data/raw"]} for name in claims.STAGES
    }
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    Repo.init(tmp_path, no_scm=True).close()
    monkeypatch.chdir(tmp_path)
    params = load_params(Params, ROOT / "params.yaml")
    first = claims.inputs_of(params)
    (tmp_path / "cnnpipe/report/page.py").write_text("after")
    assert claims.inputs_of(params) == first
    seen = {first, claims.inputs_of(load_params(Params, ROOT / "params.yaml", overrides=MORE_RUNS))}
    for path in ("cnnpipe/principles/sharing.py", "data/raw/labels"):
        (tmp_path / path).write_text("after")
        seen.add(claims.inputs_of(params))
    assert len(seen) == 4


def test_of_exact_intervals_a_claim_in_four_covers_less_than_four_fifths():
    """What the page on the claims compares the measured coverage with."""
    random = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        estimates = [Estimate.over_runs(random.normal(size=12).tolist()) for _ in range(5)]
        runs = {
            str(seed): {"a": {"verdict": "", "number": one.mean, "interval": one.interval}}
            for seed, one in enumerate(estimates)
        }
        row = claims.stability(runs)["a"]
        covered.append([row["covered"] / 20, row["replicated"] / 20])
    mean, too_few = np.mean(covered, axis=0), np.mean(np.less(covered, 0.8), axis=0)
    assert 0.83 < mean[0] < 0.87
    assert 0.2 < too_few[0] < 0.35
    # Of intervals for another seed's number:
    assert 0.94 < mean[1] < 0.96
    assert too_few[1] < 0.07


def test_replications_are_compared_pair_by_pair():
    def found(verdict, number, interval):
        return {"sharing": {"verdict": verdict, "number": number, "interval": interval}}

    runs = {
        "1": found("shown", 2.0, [1.0, 3.0]),
        "2": found("shown not to hold", 0.5, [0.0, 1.0]),
        "3": found("not decided", 1.5, [0.0, 4.0]),
    }
    # 1 holds 3's number, 2 none, 3 both others'. From 2 ± √2 to 0.5 is too far; from 0.5 ± √0.5
    # to 2 and to 1.5, too.
    verdicts = ["shown", "shown not to hold", "not decided"]
    expected = {"verdicts": verdicts, "flips": True, "covered": 3, "replicated": 3, "pairs": 6}
    assert claims.stability(runs) == {"sharing": expected}
    assert not claims.stability({"1": runs["1"], "3": runs["3"]})["sharing"]["flips"]
