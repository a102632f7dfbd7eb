"""Kill a training run again and again, and see that its weights come out bit for bit as if not.

    python scripts/kills.py --kills 20

In a copy of the project, on the digits that need no network, `dvc repro train@<model>` is killed
with SIGKILL, with all its processes, at random moments, every third time inside a save. Each time
the same command is given again. At the end the SHA-256 of the weights file is held against that of
a run that nobody disturbed. Exit status 1 if they differ.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from cnnpipe.artifacts import save_json, sha256_of

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "cnnpipe", "stages")


@dataclass
class Kill:
    after: str
    """Newest checkpoint when it came."""
    seconds: float
    """Since the command was given."""
    unfinished: bool
    """Whether it left a half-written checkpoint."""
    resumed: str = ""
    """What the next run said."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a training run at random moments.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--model", choices=["lenet5", "vgg"], default="lenet5")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds of training, at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = (Path(folder) / name for name in ("undisturbed", "disturbed"))
        prepare(undisturbed, options.model, options.epochs)
        shutil.copytree(undisturbed, disturbed)
        expected = finish(undisturbed, options.model)[0]
        kills = disturb(disturbed, options.model, options.kills, options.longest, options.seed)
        found, last = finish(disturbed, options.model)
        if kills:
            kills[-1].resumed = last
    print("| kill | newest checkpoint | after, s | inside a save | the next run |")
    print("|---:|---|---:|---|---|")
    for number, kill in enumerate(kills, start=1):
        inside = "yes" if kill.unfinished else ""
        print(f"| {number} | {kill.after} | {kill.seconds:.1f} | {inside} | {kill.resumed} |")
    print(f"undisturbed {expected}", f"disturbed   {found}", sep="\n")
    print("bit-identical" if found == expected else "DIFFERENT")
    return 0 if found == expected and kills else 1


def prepare(folder: Path, model: str, epochs: int) -> None:
    """A copy of the project up to the training stage, with a checkpoint at every reading."""
    folder.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["data"]["name"] = "digits"
    params["train"] |= {"checkpoint": 0, "batch_size": 16, "device": "cpu"}
    params["models"][model]["epochs"] = epochs
    params["models"]["vgg"]["blocks"] = [[4], [8]]
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True, env=environment(folder))
    # The operators are proved elsewhere, for minutes; what is tried here is the training.
    stages = yaml.load(folder / "dvc.yaml")
    del stages["stages"]["verify"]
    with (folder / "dvc.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(stages, file)
    save_json(folder / "reports" / "verify.json", {"verdict": "pass"})
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "download"],
        cwd=folder,
        check=True,
        env=environment(folder),
    )


def environment(folder: Path) -> dict[str, str]:
    """Of the commands: the copy's own code, this interpreter, and no experiment around."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    around = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    return around | {"PATH": path, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}


def start(folder: Path, model: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", f"train@{model}"],
            cwd=folder,
            env=environment(folder),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def disturb(folder: Path, model: str, kills: int, longest: float, seed: int) -> list[Kill]:
    """Start and kill so many times; fewer, if the run ends before."""
    randomness = random.Random(seed)
    done: list[Kill] = []
    for number in range(1, kills + 1):
        before = newest(folder)
        begun = time.monotonic()
        with start(folder, model) as process:
            wait_for_training(folder, process, before)
            pause = time.monotonic() + randomness.uniform(0, longest)
            in_save = number % 3 == 0
            while process.poll() is None and time.monotonic() < pause:
                time.sleep(0.01)
            while process.poll() is None and in_save and not unfinished(folder):
                pass  # a save takes milliseconds
            if process.poll() is not None:
                print(f"the run ended before kill {number}", file=sys.stderr)
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if done:
            done[-1].resumed = said(folder)
        seconds = time.monotonic() - begun
        done.append(Kill(newest(folder), seconds, bool(unfinished(folder))))
    return done


def wait_for_training(folder: Path, process: subprocess.Popen[bytes], before: str) -> None:
    """Until the stage has begun to train: it says that it goes on, or has saved something."""
    while process.poll() is None and not said(folder) and newest(folder) == before:
        time.sleep(0.01)


def newest(folder: Path) -> str:
    files = sorted(folder.glob(".cnnpipe/checkpoints/*/step-*.safetensors"))
    return f"step {int(files[-1].stem.removeprefix('step-')):,}" if files else "none"


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".cnnpipe/checkpoints/*/.*.tmp"))


def said(folder: Path) -> str:
    """What the stage said about going on."""
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    match = re.search(r"goes on after step [\d,]+ of [\d,]+ \(epoch \d+\)", log)
    return match.group() if match else ""


def finish(folder: Path, model: str) -> tuple[str, str]:
    """Run to the end; the SHA-256 of the weights, and what the run said about going on."""
    with start(folder, model) as process:
        if process.wait() != 0:
            print((folder / "log").read_text(encoding="utf-8"), file=sys.stderr)
            raise SystemExit(f"dvc repro train@{model} ended with status {process.returncode}")
    return sha256_of(folder / "data" / "models" / f"{model}.safetensors"), said(folder)


if __name__ == "__main__":
    sys.exit(main())
