"""Two processes of Gloo on this machine: the results of one; if one fails, all end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from cnnpipe.layers import BatchNorm2d
from cnnpipe.system.artifacts import load_json, load_weights, save_json
from cnnpipe.system.errors import InputError
from cnnpipe.train import distributed
from tests.helpers.project import ROOT
from tests.helpers.stages import digits_project, run_here


def in_two_processes(work, *arguments):
    multiprocessing.set_forkserver_preload([__name__])  # else each process imports torch anew
    with TemporaryDirectory() as folder:
        arguments = (Path(folder, "store").as_uri(), work, arguments)
        torch.multiprocessing.start_processes(_join, arguments, nprocs=2, start_method="forkserver")


def _join(rank, store, work, arguments):
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    work(*arguments)
    dist.destroy_process_group()


def test_one_process_needs_no_group():
    batch = torch.arange(6.0)
    assert distributed.processes() == 1
    assert distributed.rank() == 0
    assert torch.equal(distributed.part_of(batch), batch)
    assert torch.equal(distributed.mean(batch.clone()), batch)
    assert distributed.from_first("x") == "x"
    assert distributed.from_all("x") == ["x"]
    model = nn.Linear(2, 2)
    assert distributed.parallel(model) is model


def _exchange():
    rank = distributed.rank()
    assert distributed.processes() == 2
    assert distributed.part_of(torch.arange(6)).tolist() == [[0, 1, 2], [3, 4, 5]][rank]
    assert distributed.mean(torch.tensor([1.0, 2.0]) * rank).tolist() == [0.5, 1.0]
    assert distributed.from_first(rank) == 0
    assert distributed.from_all(rank) == [0, 1]


def test_two_processes_exchange():
    in_two_processes(_exchange)


def _same_step(path):
    """The whole batch in one process against halves in two: outputs, statistics, gradients."""
    inputs, model, expected, statistics, gradients = torch.load(path, weights_only=False)
    network = distributed.parallel(model)
    half = distributed.part_of(inputs)
    outputs = network(half)
    torch.testing.assert_close(outputs, distributed.part_of(expected), rtol=1e-5, atol=1e-5)
    outputs.square().mul(half[:, :1, 2:, 2:]).mean().backward()
    for key, value in statistics.items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-5, atol=1e-6, msg=key)
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-4, atol=1e-6, msg=key)
    model.eval()
    assert model(half).shape == outputs.shape


def test_gradients_and_statistics_are_those_of_the_whole_batch(tmp_path):
    """The halves differ in mean and spread, so statistics of a half would be far off."""
    torch.manual_seed(0)
    inputs = torch.randn(8, 3, 6, 6)
    inputs[4:] = inputs[4:] * 3 + 5
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(4, 2, 1, bias=False), BatchNorm2d(2))
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.uniform_(layer.bias)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    outputs = model(inputs)
    outputs.square().mul(inputs[:, :1, 2:, 2:]).mean().backward()
    gradients = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(before)
    model.zero_grad()
    torch.save((inputs, model, outputs.detach(), statistics, gradients), tmp_path / "case.pt")
    in_two_processes(_same_step, tmp_path / "case.pt")


@pytest.mark.parametrize(
    ("device", "processes", "message"),
    [
        ("mps", 2, "device: got mps; expected cpu or cuda with 2 processes"),
        ("cuda:1", 2, "device: got cuda:1; expected cpu or cuda with 2 processes"),
        ("cuda", 1000, "processes: got 1000; expected at most"),
    ],
)
def test_devices_that_do_not_serve(device, processes, message):
    with pytest.raises(InputError, match=message):
        distributed.check_device(torch.device(device), processes)


class Project:
    """The training stage on digits."""

    def __init__(self, folder: Path, changes: Mapping[str, Any]) -> None:
        self.folder = folder
        small = {"train.epochs": 1, "models.vgg.epochs": 1}
        small |= {"models.vgg.blocks": [[4], [8]], "models.vgg.dropout": 0.0}
        digits_project(folder, {**small, **changes})
        save_json(folder / "reports" / "verify.json", {"verdict": "pass"})

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        environment = {key: value for key, value in os.environ.items() if key[:4] != "DVC_"}
        with subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()  # else a test that has failed would wait for a stage that hangs

    def run(self, *arguments: str) -> str:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=180)
        assert process.returncode == 0, out + err
        return out

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob(".cnnpipe/checkpoints/*/step-*"))

    def results(self, model: str):
        weights, _ = load_weights(self.folder / f"data/models/{model}.safetensors")
        timing = load_json(self.folder / f"reports/timings/{model}.json")
        return weights, pd.read_csv(self.folder / f"reports/curves/{model}.csv"), timing


# AdamW's first steps are as long for a rounding error as for a gradient, so a low rate. VGG has
# batch normalisation besides all that LeNet-5 has.
RUN = {"train.lr": 0.001, "models.vgg.epochs": 6}


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory):
    """VGG trained as on the command line, without `runtime.processes`; what it printed."""
    project = Project(tmp_path_factory.mktemp("torchrun"), RUN)
    torchrun = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    return project, project.run(*torchrun, "--nproc-per-node=2", "-m", "stages.train", "vgg")


def test_two_processes_train_what_one_trains(by_torchrun, tmp_path, monkeypatch):
    one, (two, output) = Project(tmp_path / "one", RUN), by_torchrun
    monkeypatch.chdir(one.folder)
    assert run_here("train@vgg").exit_code == 0
    assert output.count("validation images") == 1  # one of the two prints
    assert one.checkpoints() == two.checkpoints() == []
    one_weights, one_curve, one_timing = one.results("vgg")
    two_weights, two_curve, two_timing = two.results("vgg")
    assert (one_timing["processes"], two_timing["processes"]) == (1, 2)
    assert one_weights.keys() == two_weights.keys()
    pd.testing.assert_frame_equal(two_curve, one_curve, rtol=0, atol=1e-5)
    for key, value in one_weights.items():  # after 54 steps of at most lr = 0.001 each
        difference = (two_weights[key].float() - value.float()).abs().mean()
        assert difference < 1e-6 * max(1.0, float(value.float().abs().mean())), key


def wait_for_checkpoint(project, process):
    """Wait until there is another checkpoint than now."""
    before = project.checkpoints()
    deadline = time.monotonic() + 120
    while project.checkpoints() in ([], before):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(process):
    """In the order in which they were started."""
    children = psutil.Process(process.pid).children()
    return sorted(child.pid for child in children if "stages.train" in child.cmdline())


def listening(pids):
    """Addresses on which processes accept connections."""
    return [
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids
    ]


def test_all_end_and_the_run_goes_on_to_the_same_bits(by_torchrun, tmp_path):
    """Killed in the midst of one process, then terminated, then left alone."""
    often = {"runtime.processes": 2, "runtime.checkpoint": 0}
    project = Project(tmp_path / "p", RUN | often)

    def kill_a_worker(stage, workers):
        os.kill(workers[1], signal.SIGKILL)

    def terminate_the_stage(stage, workers):
        stage.terminate()

    for stop, status, message in (
        (kill_a_worker, 1, ["Error: process 1 of 2 was ended by SIGKILL"]),
        (terminate_the_stage, 143, []),
    ):
        with project.start("stages.train", "vgg") as process:
            wait_for_checkpoint(project, process)
            workers = workers_of(process)
            assert len(workers) == 2
            assert_nobody_outside_this_machine_can_connect([process.pid, *workers])
            stop(process, workers)
            _, err = process.communicate(timeout=40)
        assert process.returncode == status
        assert err.splitlines() == message
        assert not any(map(psutil.pid_exists, workers))
    assert "goes on after step" in project.run("stages.train", "vgg")
    assert project.results("vgg")[2]["processes"] == 2
    undisturbed, _ = by_torchrun
    name = "data/models/vgg.safetensors"
    assert (project.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()


def assert_nobody_outside_this_machine_can_connect(pids):
    if not Path("/proc/net/tcp").exists():
        return  # Linux alone shows them to everybody
    # Gloo's own, between the two.
    assert set(listening(pids)) == {"127.0.0.1"}


def test_a_batch_that_does_not_divide_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Project(tmp_path, {"runtime.processes": 3})
    result = run_here("train@lenet5")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: batch_size: got 128; expected a multiple of 3")
    assert result.stderr.count("\n") == 1


def test_a_stopped_stage_exits_at_once_and_leaves_no_temporary_files(tmp_path):
    project = Project(tmp_path / "p", {"train.epochs": 50, "runtime.checkpoint": 0})
    with project.start("stages.train", "lenet5") as process:
        wait_for_checkpoint(project, process)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 10
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(project.folder.rglob(".*.tmp"))
    assert project.checkpoints()
