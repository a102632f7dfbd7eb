"""From a loop nest to machine code for this processor, and its tasks to the threads."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import threadpoolctl
import torch
from llvmlite import binding as llvm
from torch import Tensor

from cnnpipe.functional.loops.nest import BYTES, Nest
from cnnpipe.system.artifacts import atomic_write
from cnnpipe.system.errors import InputError
from cnnpipe.system.threads import without_garbage_collection

Kernel = Callable[..., None]

CPU = "CNNPIPE_CPU"
"""Environment variable with a processor to compile for instead of this one."""
PROCESSORS = ("haswell", "skylake-avx512")
"""Its values, LLVM's names: the first one with AVX2 and FMA, and the first one with AVX-512."""

SOURCES = ("functional", "geometry")
"""Packages that decide what code is written, beside the file of the function that writes it."""

DAYS = 30
"""For which machine code is kept on disk."""

_LOCK = threading.RLock()

# What runs a kernel: `run` gives its tasks to OpenMP's threads, in which `worker` takes one after
# the other. They are torch's own threads: others would compete with them for the cores.
_TASKS = """
declare i32 @omp_get_thread_num()
declare void @GOMP_parallel(ptr, ptr, i32, i32)

%job = type { i64, i64, ptr, ptr }  ; next task, tasks, kernel, its arguments

define void @worker(ptr %job) {
  %number = call i32 @omp_get_thread_num()
  %thread = zext i32 %number to i64
  %tasks.at = getelementptr %job, ptr %job, i32 0, i32 1
  %tasks = load i64, ptr %tasks.at
  %kernel.at = getelementptr %job, ptr %job, i32 0, i32 2
  %kernel = load ptr, ptr %kernel.at
  %arguments.at = getelementptr %job, ptr %job, i32 0, i32 3
  %arguments = load ptr, ptr %arguments.at
  br label %next
next:
  %task = atomicrmw add ptr %job, i64 1 monotonic
  %is_left = icmp slt i64 %task, %tasks
  br i1 %is_left, label %work, label %end
work:
  call void %kernel(i64 %task, i64 %thread, ptr %arguments)
  br label %next
end:
  ret void
}

define void @run(ptr %kernel, i64 %tasks, i32 %threads, ptr %arguments) {
  %job = alloca %job
  store i64 0, ptr %job
  %tasks.at = getelementptr %job, ptr %job, i32 0, i32 1
  store i64 %tasks, ptr %tasks.at
  %kernel.at = getelementptr %job, ptr %job, i32 0, i32 2
  store ptr %kernel, ptr %kernel.at
  %arguments.at = getelementptr %job, ptr %job, i32 0, i32 3
  store ptr %arguments, ptr %arguments.at
  %is_alone = icmp eq i32 %threads, 1
  br i1 %is_alone, label %alone, label %together
alone:
  call void @worker(ptr %job)
  ret void
together:
  call void @GOMP_parallel(ptr @worker, ptr %job, i32 %threads, i32 0)
  ret void
}
"""


def unsupported(x: Tensor) -> str | None:
    """Why tensors like x cannot be computed by compiled loops, as a clause; None if they can."""
    if x.device.type != "cpu":
        return f"expects a CPU, got {x.device.type}"
    if not x.dtype.is_floating_point:
        return f"expects a floating-point dtype, got {x.dtype}"
    return _MISSING


def _missing() -> str | None:
    """What this machine lacks."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if x86 and not llvm.get_host_cpu_features().get("fma"):
        return "expects a processor with fused multiply-adds"
    if _openmp() is None:
        return "expects a build of torch whose threads are OpenMP's"
    return None


def compiled(write: Callable[..., None]) -> Callable[..., Kernel]:
    """Make a function that writes a nest one that returns its kernel, compiled once per case.

    What it writes follows from its arguments, the case, which are told apart by their `repr`.
    A kernel is called with its number of tasks and the nest's arguments, tensors and ints; the
    tensors are dense, and stay alive while it runs.
    """
    origin = f"{write.__module__}.{write.__qualname__} {_hash_of_file(write)}"

    @cache
    def kernel(*case: Any) -> Kernel:
        code, run = _machine_code(write, case, origin), _run()

        def call(tasks: int, *arguments: Tensor | int) -> None:
            words = [
                a if type(a) is int else a.data_ptr()  # type: ignore[union-attr]  # quick
                for a in arguments
            ]
            run(code, tasks, min(tasks, torch.get_num_threads()), _packed(len(words))(*words))

        return call

    return kernel


@cache
def _packed(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"{count}q").pack


def _machine_code(write: Callable[..., None], case: tuple[Any, ...], origin: str) -> int:
    """The address of a kernel's code, which is kept on disk for the next process."""
    decisive = f"{origin} {case} {_SOURCES_HASH} {_target()} {llvm.llvm_version_info}"
    key = hashlib.sha256(decisive.encode()).hexdigest()
    name = f"kernel_{key}"
    code = _read(key)
    if code is None:
        with without_garbage_collection():  # of thousands of objects that are needed
            nest = Nest(name)
            write(nest, *case)
            text = nest.finish()
        code = _compile(text)
        _keep(key, code)
    return _load(name, code)


def _load(name: str, code: bytes) -> int:
    with _LOCK:
        _engine().add_object_file(llvm.ObjectFileRef.from_data(code))
        _engine().finalize_object()
        address: int = _engine().get_function_address(name)
        return address


def _file(key: str) -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "cnnpipe" / f"{key}.o"


# Where nothing can be read or kept, each process compiles for itself. Without a home there is a
# RuntimeError.


def _read(key: str) -> bytes | None:
    with suppress(OSError, RuntimeError):
        content = _file(key).read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return content[32:]
    return None


def _keep(key: str, code: bytes) -> None:
    with suppress(OSError, RuntimeError):
        file = _file(key)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(file.parent)
        with atomic_write(file, "wb", flushed=False) as out:
            out.write(hashlib.sha256(code).digest() + code)


@cache
def _forget_old(folder: Path) -> None:
    """Remove what was compiled `DAYS` ago: its sources may be gone. If not, it comes again."""
    oldest = time.time() - DAYS * 24 * 60 * 60
    for file in folder.glob("*.o"):
        if file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)


def _hash_of_file(write: Callable[..., None]) -> str:
    """Of the file that a function is from; of what was typed in, one that never comes again."""
    try:
        content = Path(write.__code__.co_filename).read_bytes()
    except OSError:
        content = os.urandom(32)
    return hashlib.sha256(content).hexdigest()


def _hash_of_sources() -> str:
    """Of all files in `SOURCES`."""
    package = Path(__file__).parents[2]
    files = sorted(file for name in SOURCES for file in (package / name).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _compile(text: str) -> bytes:
    """Object code of LLVM's assembly.

    One pass turns variables into registers. What else LLVM has to offer made no kernel faster, and
    took longer than all the rest.
    """
    module = llvm.parse_assembly(text)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    builder = llvm.create_pass_builder(_machine(), options)
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    code: bytes = _machine().emit_object(module)
    return code


@cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # More than half of the time goes into other counters for loops, which made no kernel faster.
    llvm.set_option("", "-disable-lsr")
    cpu, features = _target()
    return llvm.Target.from_default_triple().create_target_machine(cpu, features, opt=3, jit=True)


@cache
def _target() -> tuple[str, str]:
    """A processor's name and its features, both as LLVM spells them."""
    if cpu := os.environ.get(CPU):
        if cpu not in PROCESSORS:  # by which LLVM would end the process
            raise InputError(f"{CPU}: expected {' or '.join(PROCESSORS)}, got {cpu!r}")
        return cpu, ""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def dtype_name(dtype: torch.dtype) -> str:
    """That by which a nest knows it: "float32" or "float64"."""
    return str(dtype).removeprefix("torch.")


def lanes(dtype: str) -> int:
    """How many numbers a register of this processor holds."""
    return (16 if _is_wide() else 8) * 4 // BYTES[dtype]


def _is_wide() -> bool:
    """Whether the processor has AVX-512."""
    return "+avx512f" in _target()[1] or "avx512" in _target()[0]


@cache
def _engine() -> Any:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


@cache
def _run() -> Any:
    for name in ("GOMP_parallel", "omp_get_thread_num"):
        function = getattr(_openmp(), name)
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    address = _load("run", _compile(_TASKS))
    pointer = ctypes.c_void_p
    return ctypes.CFUNCTYPE(None, pointer, ctypes.c_int64, ctypes.c_int32, pointer)(address)


@cache
def _openmp() -> ctypes.CDLL | None:
    """The library of torch's threads, if it can run a kernel's tasks."""
    beside = Path(torch.__file__).resolve().parents[1]  # the libraries' names are without links
    for library in threadpoolctl.threadpool_info():
        file = Path(library["filepath"]).resolve()
        if library["user_api"] == "openmp" and file.parent in (
            beside / "torch/lib",
            beside / "torch.libs",
        ):
            openmp = ctypes.CDLL(str(file))
            return openmp if hasattr(openmp, "GOMP_parallel") else None
    return None


REGISTERS = 32 if _is_wide() else 16
"""Of the vectors that a loop works with."""
_MISSING = _missing()
_SOURCES_HASH = _hash_of_sources()  # of what is imported now, though it may be edited later
