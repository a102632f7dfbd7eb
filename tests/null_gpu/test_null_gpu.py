"""A training step on CUDA, as far as a GPU that computes nothing can show it: README.md here."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.project import ROOT
from tests.null_gpu.build import build, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")
LENET5, VGG, WAITING = "lenet5,scratch,float32", "vgg,scratch,bfloat16", "waiting,scratch,float32"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("null-gpu")
    return subprocess.run(
        [sys.executable, "-m", "tests.null_gpu.steps", LENET5, VGG, WAITING],
        cwd=ROOT,
        env={**os.environ, **build(folder)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def steps(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize(("run", "most"), [(LENET5, 110), (VGG, 260)])
def test_a_step_launches_no_more_than_it_did_and_never_waits(steps, run, most):
    eager = steps[run]["eager"]
    assert eager["kernels"] + eager["products"] + eager["copies"] <= most
    assert eager["waits"] == eager["graphs"] == 0


@pytest.mark.parametrize("run", [LENET5, VGG])
def test_all_but_the_optimiser_is_one_graph(steps, run):
    graph = steps[run]["graph"]
    assert graph["graphs"] == 1
    assert graph["waits"] == graph["products"] == 0
    assert graph["kernels"] + graph["copies"] + 1 <= 10


def test_a_graph_draws_the_same_random_numbers(steps):
    """VGG's dropout: 6 steps, whether they are launched or repeated from a graph."""
    assert steps[VGG]["graph"]["random"] == steps[VGG]["eager"]["random"]
    assert steps[VGG]["graph"]["random"] != steps[LENET5]["graph"]["random"]


def test_what_cannot_be_recorded_trains_without_a_graph_and_says_so(process, steps):
    assert steps[WAITING]["graph"]["graphs"] == 0
    assert steps[WAITING]["graph"]["waits"] == 1
    assert process.stdout.count("no CUDA graph (") == 1
