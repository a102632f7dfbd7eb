import functools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cnnpipe.functional import gpu_block, implicit_gemm
from cnnpipe.functional.block_kernels import Block
from cnnpipe.geometry import ConvolutionGeometry
from tests.helpers.project import ROOT

INTERPRETED = ROOT / "tests" / "helpers" / "interpreted_implicit_gemm.py"
needs_triton = pytest.mark.skipif(
    not implicit_gemm._has_triton(), reason="Triton is not installed on this platform"
)
compiles = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels are not compiled"
)
GEOMETRY = ConvolutionGeometry((14, 14), (3, 3), padding=(1, 1, 1, 1))


@needs_triton
def test_kernels_in_tritons_interpreter() -> None:
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*tests, INTERPRETED],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_operators_does_not_import_triton() -> None:
    code = (
        "import sys, cnnpipe.functional.implicit_gemm as algorithm, torch;"
        "algorithm.unsupported(torch.zeros(1, 1, 2, 2), None);"
        "sys.exit('triton' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def stand_in(dtype: torch.dtype, device: str, images: int = 2) -> Any:
    """What `unsupported` may look at of a tensor that this machine cannot hold."""

    class Images(SimpleNamespace):
        def __len__(self) -> int:
            return images

    return Images(dtype=dtype, device=torch.device(device))


def test_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(implicit_gemm, "_has_triton", lambda: True)

    def reason(*args: Any) -> str | None:
        return implicit_gemm.unsupported(stand_in(*args), GEOMETRY)

    assert reason(torch.float32, "cuda:0") is None
    assert reason(torch.bfloat16, "cuda:0") is None
    assert reason(torch.float64, "cuda:0") == (
        "expects float32, float16 or bfloat16, got torch.float64"
    )
    assert reason(torch.float32, "cpu") == (
        "expects a CUDA device (or TRITON_INTERPRET=1, which runs its kernels in Triton's "
        "interpreter), got cpu"
    )
    # 14·14·5,478,275 = 1,073,741,900 > 2³⁰ = 1,073,741,824
    assert reason(torch.float32, "cuda:0", 5_478_275) == (
        "expects fewer than 2³⁰ pixels, got 1073741900"
    )
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert reason(torch.float32, "cpu") is None
    monkeypatch.setattr(implicit_gemm, "_has_triton", lambda: False)
    assert reason(torch.float32, "cuda:0") == ("expects the package triton, which is not installed")


@needs_triton
@compiles
def test_a_gpu_on_which_triton_cannot_launch_gets_tensor_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capability = (7, 5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    def reason(dtype: torch.dtype) -> str:
        implicit_gemm._lacking.cache_clear()
        return implicit_gemm.cannot_launch(stand_in(dtype, "cuda:0"), dtype) or ""

    assert reason(torch.bfloat16) == "expects compute capability 8.0 for bfloat16, got (7, 5)"
    for dtype in (torch.float32, torch.float16):  # this machine has no driver
        assert "expects that triton can launch kernels" in reason(dtype)
    implicit_gemm._lacking.cache_clear()


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_phases_hold_each_meeting_of_pixel_and_tap_once(kernel_size: int, padding: int) -> None:
    for stride in range(1, 7):
        for dilation in range(1, 7):
            geometry = ConvolutionGeometry(
                (29, 29), (kernel_size,) * 2, (stride,) * 2, (padding,) * 4, (dilation,) * 2
            )
            expected = sorted(
                (output * stride + tap * dilation - padding, tap, output)
                for output in range(-99, 99)
                for tap in range(kernel_size)
                if 0 <= output * stride + tap * dilation - padding < 29
            )
            actual = []
            pixels_of_all = []
            for phase in implicit_gemm._phases(geometry, axis=0):
                pixels, taps = range(29)[phase.pixels], range(kernel_size)[phase.taps]
                pixels_of_all += pixels
                actual += [
                    (pixel, tap, phase.start + u + a * phase.move)
                    for u, pixel in enumerate(pixels)
                    for a, tap in enumerate(taps)
                ]
            assert sorted(actual) == expected
            assert sorted(pixels_of_all) == list(range(29))


@pytest.fixture
def allow_tf32() -> Iterator[Callable[[], None]]:
    """Allows TF32 until the end of the test."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    yield lambda: setattr(matmul, "allow_tf32", True)
    matmul.allow_tf32 = before


def test_precision_follows_torch_by_either_name(
    allow_tf32: Callable[[], None],
) -> None:
    assert implicit_gemm._precision() == "ieee"
    allow_tf32()
    assert implicit_gemm._precision() == "tf32"
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    assert implicit_gemm._precision() == "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # allow_tf32 cannot be read any more
    assert implicit_gemm._precision() == "tf32"


def test_tiles_by_the_rule(allow_tf32: Callable[[], None]) -> None:
    def rule(*sizes: int, dtype: torch.dtype = torch.bfloat16) -> tuple[int, int, int]:
        return implicit_gemm._Blocks.for_product(dtype, *sizes)

    # 128·28·28 = 100,352 windows: 784 tiles of 128×128, and 128·7·7: 49, 98 of 64×128, 196.
    assert rule(100_352, 128, 64) == (128, 128, 64)
    assert rule(6_272, 128, 64) == (64, 64, 64)
    assert rule(40_000, 128, 64) == (128, 128, 64)
    assert rule(20_000, 128, 64) == (64, 128, 64)
    assert rule(100_352, 20, 6) == (64, 32, 32)  # no runs of 16 channels
    assert rule(100_352, 6, 16, dtype=torch.float32) == (64, 16, 16)
    allow_tf32()
    assert rule(100_352, 128, 64, dtype=torch.float32) == (128, 128, 32)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Any]]:
    """Calls a function as if on some GPU, and returns what it compiled instead of launching it."""
    triton = pytest.importorskip("triton")
    compiler = pytest.importorskip("triton.backends.compiler")
    nvidia = pytest.importorskip("triton.backends.nvidia.compiler")
    from cnnpipe.functional import implicit_gemm_kernels as kernels

    try:
        nvidia.get_ptxas_version()
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no ptxas: {error}")
    driver = triton.runtime.driver
    monkeypatch.setattr(driver, "_active", None)  # to be restored at the end
    launched: list[Any] = []
    run = type(kernels.correlate).run

    def compile_only(kernel: Any, *args: Any, warmup: bool, **options: Any) -> None:
        launched.append(run(kernel, *args, warmup=True, **options))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(type(kernels.correlate), "run", compile_only)

    def call(capability: int, function: Any, *args: Any) -> list[Any]:
        target = compiler.GPUTarget("cuda", capability, 32)
        driver.set_active(
            SimpleNamespace(
                get_current_target=lambda: target,
                get_current_device=lambda: capability,
                get_current_stream=lambda _: 0,
            )
        )
        launched.clear()
        function(*args)
        return launched.copy()

    return call


@needs_triton
@compiles
@pytest.mark.parametrize(
    ("dtype", "capability", "product"),
    [
        (torch.float32, 90, "wgmma.mma_async"),
        (torch.float16, 80, "mma.sync.aligned"),
        (torch.bfloat16, 90, "wgmma.mma_async"),
    ],
)
def test_kernels_compile_for_gpus_and_use_tensor_cores(
    dtype: torch.dtype, capability: int, product: str, compiled: Any
) -> None:
    x, w = torch.zeros(8, 64, 14, 14, dtype=dtype), torch.zeros(64, 64, 3, 3, dtype=dtype)
    run = functools.partial(compiled, capability)
    kernels = [
        *run(implicit_gemm.forward, x, w, GEOMETRY),
        *run(implicit_gemm.input_gradient, x, w, GEOMETRY),
        *run(implicit_gemm.weight_gradient, x, x, GEOMETRY),
    ]
    assert len(kernels) == 3  # one launch each
    for kernel in kernels:
        ptx = kernel.asm["ptx"]
        assert "cubin" in kernel.asm
        assert (product in ptx) == (dtype != torch.float32)
        assert "cp.async" in ptx  # the next tiles are read while these are multiplied
        assert "atom" not in ptx
        assert kernel.metadata.shared <= 99 * 1024  # of every GPU since Ampere


@needs_triton
@compiles
def test_kernels_of_a_block_compile_for_gpus_and_keep_all_numbers_in_registers(
    compiled: Any, tmp_path: Path
) -> None:
    from triton.backends.nvidia.compiler import get_ptxas

    shape = (8, 64, 14, 14)
    x = torch.zeros(shape, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    block = Block.of(shape, torch.bfloat16, 1e-5, True, 2)
    means, weight = torch.zeros(2, 64), torch.zeros(64)
    parameters, g = [means, weight, weight], x[..., :7, :7].contiguous()
    for capability in (80, 90):
        run = functools.partial(compiled, capability)
        kernels = [
            *run(gpu_block.statistics, x),
            *run(gpu_block.forward, block, x, parameters),
            *run(gpu_block.sums, block, g, x, parameters),
            *run(gpu_block.input_gradient, block, g, x, parameters, means),
        ]
        assert len(kernels) == 5
        for kernel in kernels:
            ptx = tmp_path / "kernel.ptx"
            ptx.write_text(kernel.asm["ptx"])
            command = [
                get_ptxas(capability).path,
                "-v",
                "-arch",
                f"sm_{capability}{'a' * (capability > 80)}",
            ]
            told = subprocess.run(
                [*command, ptx, "-o", "/dev/null"], capture_output=True, text=True, check=True
            ).stderr
            assert "0 bytes spill stores, 0 bytes spill loads" in told
            assert "atom" not in kernel.asm["ptx"]


@needs_triton
@compiles
def test_tf32_only_where_it_is_allowed(compiled: Any, allow_tf32: Callable[[], None]) -> None:
    x, w = torch.zeros(2, 16, 14, 14), torch.zeros(16, 16, 3, 3)
    (exact,) = compiled(80, implicit_gemm.forward, x, w, GEOMETRY)
    assert "mma.sync" not in exact.asm["ptx"]
    allow_tf32()
    (rounded,) = compiled(80, implicit_gemm.forward, x, w, GEOMETRY)
    assert ".tf32.tf32" in rounded.asm["ptx"]


@needs_triton
@compiles
def test_input_gradient_takes_one_launch_for_each_phase_with_windows(compiled: Any) -> None:
    w = torch.zeros(16, 16, 3, 3)
    strided = ConvolutionGeometry((14, 14), (3, 3), (2, 2), (1, 1, 1, 1))
    grad = torch.zeros(2, 16, *strided.output_size)
    assert len(compiled(80, implicit_gemm.input_gradient, grad, w, strided)) == 4
    pointwise = ConvolutionGeometry((14, 14), (1, 1), (2, 2))
    grad = torch.zeros(2, 16, *pointwise.output_size)
    assert len(compiled(80, implicit_gemm.input_gradient, grad, w[..., :1, :1], pointwise)) == 1


def test_without_windows_or_numbers_everything_is_zero() -> None:
    w = torch.ones(3, 2, 3, 3)
    empty, no_grad = torch.zeros(0, 2, 14, 14), torch.zeros(0, 3, 14, 14)
    assert implicit_gemm.forward(empty, w, GEOMETRY).shape == (0, 3, 14, 14)
    assert implicit_gemm.input_gradient(no_grad, w, GEOMETRY).shape == (0, 2, 14, 14)
    gradient = implicit_gemm.weight_gradient(empty, no_grad, GEOMETRY)
    assert torch.equal(gradient, torch.zeros(3, 2, 3, 3))


def test_programs_are_enough_for_every_multiprocessor() -> None:
    blocks = implicit_gemm._Blocks(64, 64, 64)
    for length in (1, 100, 10_000, 1_000_000):
        part = blocks.part(length, tiles=9)
        parts = math.ceil(length / part)
        assert part % 64 == 0
        assert 9 * parts <= implicit_gemm.PROGRAMS
