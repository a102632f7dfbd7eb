"""The same weights on every processor with AVX2 and FMA, for every number of threads.

One process computes as a processor with AVX2 does, one with AVX-512 where this one has it: that is
what torch, Intel's library of matrix products, and the compiler of loops are told.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnpipe.functional.loops import compiler
from tests.helpers.project import ROOT

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "CNNPIPE_CPU": "haswell",
}
AVX512 = {"ATEN_CPU_CAPABILITY": "avx512"}
HAS_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
pytestmark = pytest.mark.skipif(
    compiler._MISSING is not None
    or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="expects a processor with AVX2, for which loops can be compiled",
)


def trained(
    folder: Path, environment: dict[str, str], *arguments: str
) -> tuple[dict[str, Any], str]:
    process = subprocess.run(
        [sys.executable, "-m", "tests.helpers.trained_bits", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "DVC_ROOT": str(folder)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    *messages, result = process.stdout.splitlines()
    return json.loads(result), "\n".join(messages)


def test_weights_and_curves_have_the_same_bits_everywhere(tmp_path: Path) -> None:
    """The second process also goes on from checkpoints of the first one."""
    first, _ = trained(tmp_path, AVX2, "interrupt", "1", "2", "3")
    second, said = trained(tmp_path, AVX512 if HAS_AVX512 else AVX2, "resume", "3", "2", "1")
    assert (first["vectors"], second["vectors"]) == ("AVX2", "AVX512" if HAS_AVX512 else "AVX2")
    for name in ("lenet5", "vgg"):
        assert f"{name}: goes on after step 4 of 6" in said
        expected = first["fingerprints"][f"{name}, 1 threads"]
        for process in (first, second):
            found = {key: bits for key, bits in process["fingerprints"].items() if name in key}
            assert found == dict.fromkeys(found, expected)
    assert len(first["fingerprints"]) == 6
    assert len(second["fingerprints"]) == 8
