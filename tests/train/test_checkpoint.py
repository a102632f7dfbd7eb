"""An interrupted run ends in the same bits; torture/weights.py damages its checkpoints."""

import math
import signal
import subprocess
import sys
from functools import cache

import pytest
import torch

from cnnpipe.models import build_model
from cnnpipe.system.artifacts import load_csv, load_weights
from cnnpipe.train import loop, session
from cnnpipe.train.checkpoint import Checkpoints, run_key
from cnnpipe.train.loop import train
from cnnpipe.train.session import DivergedError
from cnnpipe.train.state import learning_curves
from tests.helpers.project import ROOT
from tests.train.test_loop import NORMALIZATION, SETTINGS, TRAINING, VALIDATION

SMALL = {"lenet5": {}, "vgg": {"blocks": [[4], [8]], "hidden": 16, "dropout": 0.5}}


class Killed(BaseException):
    """Ends a run as a signal does."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A project of its own, and a reading of the losses every fifth step of an epoch's twelve."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setattr(session, "STEPS_BETWEEN_READINGS", 5)
    return tmp_path / ".cnnpipe" / "checkpoints"


def fresh(name):
    torch.manual_seed(0)
    return build_model(name, classes=2, **SMALL[name])


def run(name="lenet5", *, model=None, checkpoints=None, kill_at=None, poison_at=None, **changes):
    """Train; `kill_at` ends it in the middle of that step (counted in this sitting)."""
    files = {key: changes.pop(key, None) for key in ("curves", "snapshots")}
    model, steps = model or fresh(name), 0

    def interfere(module, arguments):
        nonlocal steps
        if module.training:
            steps += 1
            if steps == kill_at:
                raise Killed
            if steps == poison_at:
                with torch.no_grad():
                    next(module.parameters()).fill_(math.nan)

    model.register_forward_pre_hook(interfere)
    settings = SETTINGS.model_copy(update={"epochs": 3, "ema_decay": 0.9, **changes})
    torch.rand(7)  # whatever ran before in this process is no part of the run
    arguments = (model, TRAINING, VALIDATION, settings, NORMALIZATION)
    return train(*arguments, seed=3, progress=False, checkpoints=checkpoints, **files)


@cache
def undisturbed(name="lenet5"):
    """What a run without interruption gives; the same for all tests."""
    return run(name)


def opened(interval=0.0, key="0123456789abcdef"):
    return Checkpoints("lenet5", key, interval=interval)


def sitting(name="lenet5", kill_at=None):
    """A run, or the rest of one, with checkpoints."""
    with opened().locked():
        return run(name, checkpoints=opened(), kill_at=kill_at)


def assert_same(result, expected):
    (model, curves), (expected_model, expected_curves) = result, expected
    assert curves == expected_curves
    for key, value in expected_model.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_taking_checkpoints_changes_nothing(name, folder):
    assert_same(sitting(name), undisturbed(name))


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
@pytest.mark.parametrize(
    ("kill_at", "goes_on_after"),
    [(3, None), (9, 5), (12, 10), (13, 12), (20, 17), (25, 24), (36, 34)],
)
def test_an_interrupted_run_ends_in_the_same_bits(name, kill_at, goes_on_after, folder, capsys):
    """12 steps an epoch, read after 5, 10 and 12 of them: mid-epoch and on an epoch's edge."""
    with pytest.raises(Killed):
        sitting(name, kill_at)
    resumed = sitting(name)
    output = capsys.readouterr().out
    if goes_on_after is None:
        assert output == ""
    else:
        epoch = 1 + goes_on_after // 12
        assert output == f"lenet5: goes on after step {goes_on_after} of 36 (epoch {epoch})\n"
    assert_same(resumed, undisturbed(name))


def test_the_curves_are_written_after_an_interruption_behind_the_last_epoch(folder, tmp_path):
    """DVC has removed the file when the run goes on, and no epoch is left that would write it."""
    sitting()
    with opened().locked():
        _, history = run(checkpoints=opened(), curves=tmp_path / "curves.csv")
    assert load_csv(tmp_path / "curves.csv").equals(learning_curves(history))


def test_an_interruption_between_the_last_step_of_an_epoch_and_its_end(folder, monkeypatch):
    """The losses are read at step 12, the epoch's last; its row of the curves is still to come."""
    monkeypatch.setattr(session, "STEPS_BETWEEN_READINGS", 4)
    expected = run()

    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(loop, "evaluate", killed)
        with pytest.raises(Killed):
            sitting()
    assert_same(sitting(), expected)


def test_a_run_interrupted_again_and_again(folder):
    for kill_at in (7, 4, 9, 8, 2, 6):
        with pytest.raises(Killed):
            sitting("vgg", kill_at)
    assert_same(sitting("vgg"), undisturbed("vgg"))


def test_a_finished_run_is_not_trained_again(folder):
    """Killed after the last step, before its results were on disk."""
    first = sitting()
    assert_same(sitting(kill_at=1), first)


def test_the_newest_two_are_kept(folder):
    checkpoints = opened()
    with checkpoints.locked():
        run(checkpoints=checkpoints)
        assert [file.name for file in checkpoints.files()] == [
            "step-0000034.safetensors",
            "step-0000036.safetensors",
        ]


def test_between_two_checkpoints_passes_the_interval(folder):
    checkpoints = opened(interval=3600)
    saved = []
    checkpoints.save = lambda step, state: saved.append(step)
    with checkpoints.locked():
        run(checkpoints=checkpoints)
    assert saved == [12, 24, 36]  # the ends of the epochs


class TestDivergence:
    def test_it_names_the_step_and_the_last_finite_checkpoint(self, folder):
        checkpoints = opened()
        with (
            pytest.raises(DivergedError, match="the loss is nan at step 16 of 36") as error,
            checkpoints.locked(),
        ):
            run(checkpoints=checkpoints, poison_at=16)
        assert str(checkpoints.folder) in str(error.value)
        for file in checkpoints.files():
            tensors, _ = load_weights(file)
            assert all(bool(value.isfinite().all()) for value in tensors.values())

    def test_weights_that_are_no_numbers_are_not_saved(self, folder):
        """Step 5's loss is read and finite, the weights after it are not."""
        checkpoints = opened()
        model, steps = fresh("lenet5"), 0

        def poison(gradient):
            nonlocal steps
            steps += 1
            return gradient * math.nan if steps == 5 else gradient

        model.c1.weight.register_hook(poison)
        with pytest.raises(DivergedError, match="at step 6 of"), checkpoints.locked():
            run(model=model, checkpoints=checkpoints)
        assert checkpoints.files() == []

    def test_without_a_checkpoint_nothing_was_saved(self, folder):
        with pytest.raises(DivergedError, match="nothing was saved"), opened().locked():
            run(checkpoints=opened(), poison_at=2)


class TestKey:
    SCRIPT = ROOT / "stages" / "train.py"

    def key(self, settings=SETTINGS, seed=1, images=TRAINING.images, script=SCRIPT, **others):
        more = {"device": "cpu", "processes": 1, **others}
        return run_key(settings, seed, [images, TRAINING.labels], script, **more)

    def test_every_input_changes_it(self, tmp_path, monkeypatch):
        script = tmp_path / "train.py"
        script.write_text(self.SCRIPT.read_text(encoding="utf-8") + "#", encoding="utf-8")
        images = TRAINING.images.clone()
        images[-1, -1, -1] ^= 1
        keys = [
            self.key(),
            self.key(seed=2),
            self.key(images=images),
            self.key(script=script),
            self.key(device="cuda"),
            self.key(processes=2),
            *(
                self.key(SETTINGS.model_copy(update={name: value}))
                for name, value in {
                    "lr": 0.1, "epochs": 7, "batch_size": 8, "backend": "torch", "warmup": 0.1,
                    "algorithm": "fft", "precision": "bfloat16", "weight_decay": 0.5,
                    "label_smoothing": 0.5, "ema_decay": 0.1,
                    "augment": SETTINGS.augment.model_copy(update={"shear": 1}),
                }.items()
            ),
        ]  # fmt: skip
        monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
        keys.append(self.key())
        monkeypatch.undo()
        monkeypatch.setattr(torch, "__version__", "0")
        keys.append(self.key())
        monkeypatch.undo()
        changed = tmp_path / "training.py"
        changed.write_text("# changed", encoding="utf-8")
        monkeypatch.setattr(loop, "__file__", str(changed))
        keys.append(self.key())
        assert len(set(keys)) == len(keys)

    def test_experiments_have_their_own_folders(self, folder, monkeypatch):
        here = opened().folder
        monkeypatch.setenv("DVC_EXP_NAME", "wide")
        assert here == folder / "lenet5-0123456789abcdef"
        assert opened().folder == folder / "lenet5-0123456789abcdef-wide"


class TestLock:
    PROGRAM = (
        "import os, signal\n"
        "from cnnpipe.train.checkpoint import Checkpoints\n"
        "with Checkpoints('lenet5', '0123456789abcdef', interval=1).locked():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )

    def start(self):
        command = [sys.executable, "-c", self.PROGRAM]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    def test_a_second_process_is_refused_in_one_line(self, folder):
        with opened().locked():
            second = self.start()
        assert "InputError: lenet5: another process trains with the same" in second.stderr

    def test_a_lock_ends_with_its_block_or_its_process(self, folder):
        """The process gets it after a block that has ended, and is killed while it has it."""
        with opened().locked():
            assert (opened().folder / "lock").exists()
        assert self.start().returncode == -signal.SIGKILL
        with opened().locked():
            assert (opened().folder / "lock").exists()

    def test_nothing_is_left_at_the_end(self, folder):
        checkpoints = opened()
        with checkpoints.locked():
            run(checkpoints=checkpoints)
            assert checkpoints.files()
            checkpoints.remove()
        assert list(folder.iterdir()) == []


def test_a_state_comes_back_from_its_file(folder):
    state = {"a": [torch.arange(3), {"0": [1.5, None, "x"]}], "b": {"c": True, "d": 0.1 + 0.2}}
    with opened().locked():
        opened().save(1, state)
        back = opened().load()
        assert torch.equal(back["a"].pop(0), state["a"].pop(0))
        assert back == state
        with pytest.raises(TypeError, match="a checkpoint cannot hold set"):
            opened().save(2, {"a": {1}})


def test_seconds_count_all_sittings(folder):
    first = opened()
    with first.locked():
        first._started -= 100
        first.save(1, {"step": 1})
        second = opened()
        assert second.seconds < 50
        assert second.load() == {"step": 1}
        assert 100 <= second.seconds < 150
