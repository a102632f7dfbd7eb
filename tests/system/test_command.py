"""How a stage ends: stopped, interrupted while it imports, or when DVC has ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.project import ROOT
from torture.project import Project, hear_signals

STAGE = """\
import time
from pathlib import Path
Path("importing").touch()
time.sleep({importing})
from cnnpipe.system.command import stage

@stage
def main():
    Path("running").touch()
    time.sleep({running})

if __name__ == "__main__":
    main()
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose only stage is slow."""
    (tmp_path / "stages").mkdir()
    script = (ROOT / "stages" / "__init__.py").read_bytes()
    (tmp_path / "stages" / "__init__.py").write_bytes(script)
    return tmp_path


def slow(folder: Path, *, importing: int = 0, running: int = 0) -> list[str]:
    """Write the stage; the command that runs it."""
    source = STAGE.format(importing=importing, running=running)
    (folder / "stages" / "slow.py").write_text(source)
    return [sys.executable, "-m", "stages.slow"]


def start(folder: Path, command: list[str], **variables: str) -> subprocess.Popen[bytes]:
    return Project(folder, {"PYTHONPATH": str(ROOT), **variables}).start(*command)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["importing", "running"])
def test_ctrl_c_shows_no_traceback(folder: Path, moment: str) -> None:
    with start(folder, slow(folder, **{moment: 60})) as process:
        wait_for(folder / moment)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
    assert process.returncode == (-signal.SIGINT if moment == "importing" else 130)
    assert Project(folder).log.read_text() == ""


def test_a_program_that_imports_a_stage_keeps_ctrl_c() -> None:
    program = "import signal, stages; print(signal.getsignal(2) is signal.default_int_handler)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        preexec_fn=hear_signals,
    )
    assert result.stdout == "True\n"


def test_under_nohup_a_hangup_changes_nothing(folder: Path) -> None:
    with start(folder, ["nohup", *slow(folder, running=1)]) as process:
        wait_for(folder / "running")
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("moment", ["importing", "running"])
@pytest.mark.parametrize("shell", ["", "/bin/sh"], ids=["", "a shell between"])
def test_a_stage_ends_with_its_dvc(folder: Path, shell: str, moment: str) -> None:
    """DVC runs a stage in a shell, which gives up its place (bash) or waits for it (dash)."""
    stage = slow(folder, **{moment: 60})
    command = [shell, "-c", f"{' '.join(stage)}; exit 1"] if shell else stage
    dvc = f"import subprocess; subprocess.run({command})"
    with start(folder, [sys.executable, "-c", dvc], DVC_STAGE="slow") as process:
        wait_for(folder / moment)
        process.kill()
    deadline = time.monotonic() + 10
    while any_left(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_dvc_a_stage_outlives_its_parent(folder: Path) -> None:
    parent = f"import subprocess; subprocess.Popen({slow(folder, running=3)})"
    with start(folder, [sys.executable, "-c", parent]) as process:
        wait_for(folder / "running")
        process.wait()
    time.sleep(1)
    assert any_left(process.pid)
    os.killpg(process.pid, signal.SIGKILL)


def any_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_leftovers_are_removed_first(folder: Path) -> None:
    left = [
        folder / ".params.schema.json.01234567.tmp",
        folder / "data" / "models" / ".vgg.safetensors.01234567.tmp",
        folder / "reports" / ".metrics.json.01234567.tmp",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    with start(folder, slow(folder)) as process:
        assert process.wait() == 0
    assert not any(path.exists() for path in left)
