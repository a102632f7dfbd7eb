"""Run the pipeline: `make repro`. If no mirror has the data set, run it on digits instead.

This script runs `dvc repro` with the given arguments, and does three more things. If the run stops
because no mirror gave the data set, the same pipeline runs as an experiment on the digits that come
with scikit-learn and need no network. DVC tracks this parameter, and the script prints at the start
and at the end that the results are not MNIST's. If the run stops because DVC was killed while it
wrote its own files, the script repairs them and starts again. At the end doctor.py re-hashes all
results and DVC's cache.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from cnnpipe.system.artifacts import atomic_write
from cnnpipe.system.command import REPORTS, UNREACHABLE
from cnnpipe.system.errors import InputError

DOCTOR = Path(__file__).with_name("doctor.py")
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
"""Signals that end a run; Windows has the first two."""
PATIENCE = 15
"""Seconds that DVC and its stage have to end."""
FALL_BACK = ["exp", "run", "-S", "data.name=digits"]
NOT_MNIST = (
    "digits: 1,797 real handwritten digits of scikit-learn, 8x8 enlarged to 28x28. Not MNIST"
)
BACK = """\
To return to MNIST, set CNNPIPE_MIRROR to a URL or a folder with its four .gz files (or repair the
network) and run: dvc exp run -S data.name=mnist"""


def main() -> int:
    handle(stop)
    if problem := clone_problem():
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    # A marker of an earlier run would explain a failure of this one that has another cause.
    UNREACHABLE.unlink(missing_ok=True)
    targets = sys.argv[1:]
    status = dvc("repro", *targets)
    if status != 0 and (repaired := repair_dvc()):
        print_framed(*repaired)
        status = dvc("repro", *targets)
    if status == 0:
        return finish(whole=not targets)
    if not UNREACHABLE.exists():
        return status
    print_framed(
        "No mirror gave the data set; the answer of each is printed above.",
        "The same pipeline now runs as an experiment on another data set:",
        NOT_MNIST + ".",
        f"  dvc {' '.join([*FALL_BACK, *targets])}",
    )
    status = dvc(*FALL_BACK, *targets)
    return finish(whole=not targets) if status == 0 else status


def clone_problem() -> str | None:
    """Why DVC cannot work in this folder, or nothing."""
    if not Path("dvc.yaml").exists():
        return "no dvc.yaml here; run from the project's root"
    if shutil.which("git") is None:
        return "git is not installed, and DVC needs it"
    head = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, check=False
    )
    if not Path(".git").exists() or head.returncode != 0:
        return (
            "this folder is not a git clone with a commit, which DVC needs; clone the project, "
            "or run: git init && git add --all && git commit --message start"
        )
    return None


def dvc(*arguments: str) -> int:
    """Run DVC of this interpreter's environment; its exit status.

    DVC passes no SIGTERM on to its stage. So both are in a process group of their own, which gets
    every signal that should end this script, and has ended when this script ends.

    Raises:
        SystemExit: on a signal, with 128 plus its number.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    early: list[int] = []  # signals that come before DVC can be stopped
    handle(lambda number, _: early.append(number))
    with subprocess.Popen(command, process_group=0 if os.name == "posix" else None) as process:
        try:
            handle(stop)
            if early:
                stop(early[0])
            status = process.wait()
            return 128 - status if status < 0 else status
        except SystemExit as stopped:
            handle(signal.SIG_IGN)
            end(process, int(stopped.code or 0) - 128)
            raise


def handle(handler: Any) -> None:
    for name in STOPPING:
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue  # `nohup` has it ignored
        signal.signal(number, handler)


def stop(number: int, _: FrameType | None = None) -> NoReturn:
    sys.exit(128 + number)


def end(process: subprocess.Popen[bytes], number: int) -> None:
    """Pass a signal on to DVC and its stage, and wait until none of them is left."""
    if os.name != "posix":
        process.wait()  # the console interrupted all of them
        return
    send(process, number)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        process.poll()  # a process that nobody waited for still counts as one of the group
        if not send(process, 0):
            return
        time.sleep(0.02)
    send(process, signal.SIGKILL)


def send(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the group; whether there still is one."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def repair_dvc() -> list[str]:
    """Repair files that DVC was writing when it was killed; return what was done.

    DVC writes dvc.lock and its list of locked files in place. If incomplete, they stop every run.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo().lock:  # every process that writes these files holds it
            return [*repair_rwlock(Path(".dvc/tmp/rwlock")), *repair_dvc_lock(Path("dvc.lock"))]
    except DvcException:  # another DVC is running
        return []


def repair_rwlock(path: Path) -> Iterator[str]:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError:
        path.unlink()
        yield f"{path} was incomplete because DVC was killed, and was deleted."


def repair_dvc_lock(path: Path) -> Iterator[str]:
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.strictyaml import load

    try:
        if path.exists():
            load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except DvcException:
        merging = subprocess.run(["git", "ls-files", "--unmerged", path], capture_output=True)
        if merging.stdout:
            return  # a person has to resolve the conflict; DVC has reported that it cannot read it
        committed = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True)
        with atomic_write(path, "wb") as file:
            file.write(committed.stdout or b"schema: '2.0'\n")
        now = "was restored from git" if committed.stdout else "was replaced by an empty one"
        yield f"{path} was incomplete because DVC was killed, and {now}."


def finish(*, whole: bool) -> int:
    """Print where the results are, and their data set if it is not MNIST.

    Args:
        whole: all stages are up to date, so that every result can be examined first.
    """
    # DVC trusts its cache, and trusts a result whose time of change is unchanged.
    if whole and subprocess.run([sys.executable, DOCTOR]).returncode != 0:
        return 1
    from cnnpipe.params.loading import load_params
    from cnnpipe.validate.schema import Params

    report = REPORTS / "index.html"
    try:
        name = load_params(Params).data.name
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if name == "digits":
        print_framed(f"These results are of {NOT_MNIST}.", *BACK.splitlines())
    print(f"Results on {name}: open {report}")
    return 0


def print_framed(*lines: str) -> None:
    """Print lines between two rules, so that nobody overlooks them."""
    rule = "=" * 98
    print(rule, *lines, rule, sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
