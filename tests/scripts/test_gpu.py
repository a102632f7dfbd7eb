"""`make gpu`, rehearsed: small, on the CPU."""

import json
import os
import subprocess
import sys

from scripts import gpu, tables
from tests.helpers.project import ROOT


def test_the_rehearsal_measures_everything(tmp_path):
    file = tmp_path / "gpu.json"
    command = [sys.executable, "scripts/gpu.py", "--rehearse", "--output", file]
    environment = {**os.environ, "DVC_ROOT": str(tmp_path)}  # where its checkpoints lie
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert results["seconds"].keys() == {section.__name__ for section in gpu.SECTIONS}
    assert results["verification"]["verdict"] == "pass"
    for ways in results["same_bits"].values():
        assert ways == {"repeated": True, "without a graph": True, "interrupted": True}
    for section, text in tables.GPU.items():
        if section != "steps":  # on the CPU without graphs
            assert text(results[section])
