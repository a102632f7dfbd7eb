"""A small project of git and DVC in a temporary folder, and commands that run in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.project import ROOT

DVC = (sys.executable, "-m", "dvc")
IDENTITY = {
    f"GIT_{who}_{what}": "test@localhost"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def environment(folder: Path) -> dict[str, str]:
    """Variables of commands: this interpreter and this code, no settings of the user's."""
    kept = {key: os.environ[key] for key in os.environ if key not in ("CNNPIPE_MIRROR", "DVC_ROOT")}
    return (
        kept
        | IDENTITY
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "*",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "tmp" / "site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
        }
    )


def create(folder: Path, files: Mapping[str, str]) -> Path:
    """Make a project of these files, without a commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, *DVC, "init", "--quiet")
    return folder


def commit(folder: Path, message: str = "done") -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


def run(folder: Path, *command: str | Path) -> str:
    """What a command prints; it must succeed."""
    result = attempt(folder, *command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def attempt(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command's exit status and what it prints."""
    with start(folder, *command) as process:
        output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def start(folder: Path, *command: str | Path, group: bool = False) -> subprocess.Popen[str]:
    """Start a command, in a process group of its own if asked."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=group,
    )
