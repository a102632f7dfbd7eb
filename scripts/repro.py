"""Run the pipeline as `make repro` does: on the data set of params.yaml, or on digits if need be.

This is `dvc repro`, and one thing more. If it stops because no mirror gave the data set, the same
pipeline runs as an experiment on the digits inside scikit-learn, which need no network. DVC tracks
that parameter, and this script says at the start and at the end that the results are not MNIST's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from cnnpipe.errors import InputError
from cnnpipe.params import load_params
from stages.command import REPORTS, UNREACHABLE

INTERRUPTED = 130
FALL_BACK = ["exp", "run", "-S", "data.name=digits"]
NOT_MNIST = (
    "digits: 1,797 real handwritten digits of scikit-learn, 8x8 enlarged to 28x28. Not MNIST"
)
BACK = """\
To go back to MNIST, set CNNPIPE_MIRROR to a URL or a folder that holds its four .gz files (or
mend the network) and run: dvc exp run -S data.name=mnist"""


def main() -> int:
    if problem := clone_problem():
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    # A marker of an earlier run would explain a failure of this one that has another cause.
    UNREACHABLE.unlink(missing_ok=True)
    status = dvc("repro")
    if status == 0:
        return finish()
    if status == INTERRUPTED or not UNREACHABLE.exists():
        return status
    say(
        "No mirror gave the data set; each one's answer stands above.",
        "The same pipeline now runs as an experiment on another data set:",
        NOT_MNIST + ".",
        f"  dvc {' '.join(FALL_BACK)}",
    )
    status = dvc(*FALL_BACK)
    return finish() if status == 0 else status


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
    """Run DVC of this interpreter's environment in this terminal; its exit status."""
    with subprocess.Popen([sys.executable, "-m", "dvc", *arguments]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal interrupted DVC and its stage too; they must end before their locks do.
            process.wait()
            return INTERRUPTED


def finish() -> int:
    """Say where the results are, and of which data set they are if not of MNIST."""
    report = REPORTS / "index.html"
    try:
        name = load_params().data.name
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if name == "digits":
        say(f"These results are of {NOT_MNIST}.", *BACK.splitlines())
    print(f"Results on {name}: open {report}")
    return 0


def say(*lines: str) -> None:
    """Print what must not be missed."""
    rule = "=" * 98
    print(rule, *lines, rule, sep="\n", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
