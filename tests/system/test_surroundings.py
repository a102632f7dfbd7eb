"""What a notebook or a console sets for other programs does not stop a stage."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.project import ROOT

STAGE = """\
import click
from matplotlib.figure import Figure
from cnnpipe.system.command import stage

@stage
def main():
    Figure().savefig("figure.png")
    click.echo("28 × 28 → 10")

if __name__ == "__main__":
    main()
"""


def test_a_notebooks_backend_and_a_consoles_encoding_stop_no_stage(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    script = (ROOT / "stages" / "__init__.py").read_bytes()
    (tmp_path / "stages" / "__init__.py").write_bytes(script)
    (tmp_path / "stages" / "draw.py").write_text(STAGE, encoding="utf-8")
    around = {
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "cp1252",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # is not installed here
    }
    command = [sys.executable, "-m", "stages.draw"]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | around, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.decode("cp1252").strip() == "28 × 28 ? 10"
    assert (tmp_path / "figure.png").stat().st_size > 0
