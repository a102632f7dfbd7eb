"""Tasks and threads, the cache on disk, and where nothing can be compiled."""

import gc
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cnnpipe.functional import loops
from cnnpipe.functional.loops import Nest, compiled, compiler
from cnnpipe.system.errors import InputError


def _write(nest: Nest, number: float) -> None:
    """Each task adds the number to its own, and says which thread did it."""
    numbers, threads = nest.array("float64"), nest.array("float64")
    numbers.store(numbers.load(nest.task) + nest.number(number, "float64"), nest.task)
    threads.store(nest.converted(nest.thread), nest.task)


def value(number: float) -> float:
    """What a kernel computes that no call before has left in this process's memory."""
    result = torch.zeros(1, dtype=torch.float64)
    compiled(_write)(number)(1, result, torch.empty_like(result))
    return result.item()


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tasks", [0, 1, 2, 1000])
def test_each_task_is_done_once(
    tasks: int, threads: int, set_threads: Callable[[int], None]
) -> None:
    set_threads(threads)
    numbers = torch.zeros(tasks + 1, dtype=torch.float64)
    of_tasks = torch.full_like(numbers, -1)
    compiled(_write)(1.0)(tasks, numbers, of_tasks)
    assert numbers.tolist() == [1.0] * tasks + [0.0]
    assert set(of_tasks[:tasks].tolist()) <= set(range(threads))
    assert of_tasks[tasks] == -1


def test_several_threads_may_want_a_kernel_at_once() -> None:
    kernel, barrier = compiled(_write), Barrier(4)

    def work(_: int) -> list[list[float]]:
        barrier.wait()
        results = [torch.zeros(5, dtype=torch.float64) for _ in range(4)]
        for number, result in enumerate(results):
            kernel(float(number))(5, result, torch.empty_like(result))
        return [result.tolist() for result in results]

    with ThreadPoolExecutor(4) as executor:
        for results in executor.map(work, range(4)):
            assert results == [[float(number)] * 5 for number in range(4)]


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The assembly that is compiled from now on."""
    compiler._run()  # is compiled before
    texts: list[str] = []
    original = compiler._compile

    def recorded(text: str) -> bytes:
        texts.append(text)
        return original(text)

    monkeypatch.setattr(compiler, "_compile", recorded)
    return texts


def test_code_is_compiled_once_and_kept(cache: Path, compilations: list[str]) -> None:
    assert [value(7.0), value(7.0), value(8.0)] == [7, 7, 8]
    assert len(compilations) == len(list(cache.glob("*.o"))) == 2
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700  # nobody else may plant code in it


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[:-1],
    "one bit": lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:],
    "no code": lambda content: content[:32],
}


@pytest.mark.parametrize("is_enabled", [True, False])
def test_no_garbage_is_looked_for_while_code_is_written(is_enabled: bool) -> None:
    collections: list[str] = []

    def write(nest: Nest, number: float) -> None:
        gc.callbacks.append(lambda phase, _: collections.append(phase))
        _ = [[] for _ in range(100_000)]  # type: ignore[var-annotated]
        gc.callbacks.pop()
        _write(nest, number)

    (gc.enable if is_enabled else gc.disable)()
    try:
        compiled(write)(1.0)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
    assert not collections


def test_old_code_is_forgotten(cache: Path) -> None:
    cache.mkdir(parents=True)
    now = time.time()
    for name, days in (("old", compiler.DAYS + 1), ("new", compiler.DAYS - 1)):
        (cache / f"{name}.o").touch()
        os.utime(cache / f"{name}.o", (now - days * 86400,) * 2)
    value(17.0)
    left = {file.stem for file in cache.glob("*.o")}
    assert "new" in left
    assert "old" not in left
    assert len(left) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_is_compiled_again(damage: str, cache: Path, compilations: list[str]) -> None:
    assert value(7.0) == 7
    [file] = cache.iterdir()
    intact = file.read_bytes()
    file.write_bytes(DAMAGES[damage](intact))
    assert value(7.0) == 7
    assert len(compilations) == 2
    assert file.read_bytes() == intact


def no_home(_: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("place", ["no folder", "no home"])
def test_where_nothing_can_be_kept_code_is_compiled(
    place: str, tmp_path: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "expanduser", no_home)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [value(7.0), value(7.0)] == [7, 7]
    assert len(compilations) == 2


@pytest.fixture
def on_haswell(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CNNPIPE_CPU", "haswell")
    compiler._target.cache_clear()
    yield
    compiler._target.cache_clear()


def test_code_for_another_processor_is_another_file(cache: Path, on_haswell: None) -> None:
    assert value(7.0) == 7
    compiler._target.cache_clear()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("CNNPIPE_CPU")
        assert value(7.0) == 7
    assert len(list(cache.iterdir())) == 2


def test_code_of_other_sources_is_another_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert value(7.0) == 7
    monkeypatch.setattr(compiler, "_SOURCES_HASH", "that of a later version")
    assert value(7.0) == 7
    monkeypatch.setattr(compiler, "_hash_of_file", lambda _: "the nest's file was edited")
    assert value(7.0) == 7
    assert len(list(cache.iterdir())) == 3


def test_an_unknown_processor_is_refused(on_haswell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNPIPE_CPU", "z80")
    with pytest.raises(InputError, match=r"^CNNPIPE_CPU: expected haswell or .*, got 'z80'$"):
        value(7.0)


def test_the_hash_is_of_all_sources_and_of_the_nests_own_file() -> None:
    assert compiler._hash_of_sources() == compiler._SOURCES_HASH
    assert compiler._hash_of_file(_write) == compiler._hash_of_file(value)
    assert compiler._hash_of_file(_write) != compiler._hash_of_file(loops.steps)
    typed: dict[str, Any] = {}
    exec("def write(nest): pass", typed)
    assert compiler._hash_of_file(typed["write"]) != compiler._hash_of_file(typed["write"])


def test_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = torch.zeros(2)
    assert loops.unsupported(numbers) is None
    assert loops.unsupported(numbers.to("meta")) == "expects a CPU, got meta"
    assert loops.unsupported(numbers.int()) == "expects a floating-point dtype, got torch.int32"
    assert loops.unsupported(numbers.to(torch.complex64)) is not None
    monkeypatch.setattr(compiler, "_MISSING", "expects another machine")
    assert loops.unsupported(numbers) == "expects another machine"


def test_what_a_machine_may_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    no_fma, no_openmp = (
        "expects a processor with fused multiply-adds",
        "expects a build of torch whose threads are OpenMP's",
    )
    assert compiler._missing() is None
    monkeypatch.setattr(compiler.platform, "machine", lambda: "x86_64")
    with monkeypatch.context() as patch:
        patch.setattr(compiler.llvm, "get_host_cpu_features", lambda: {"avx": True, "fma": False})
        assert compiler._missing() == no_fma
        patch.setattr(compiler.platform, "machine", lambda: "arm64")  # which always has them
        assert compiler._missing() is None
    monkeypatch.setattr(compiler, "_openmp", lambda: None)
    assert compiler._missing() == no_openmp


def test_only_the_library_of_torchs_threads_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(omp_get_thread_num=None)  # of another kind, without GOMP_parallel
    found = compiler.threadpoolctl.threadpool_info()
    elsewhere = [{**each, "filepath": "/usr/lib/libgomp.so.1"} for each in found]
    original = compiler._openmp.__wrapped__
    assert original() is not None
    with monkeypatch.context() as patch:
        patch.setattr(compiler.ctypes, "CDLL", lambda _: library)
        assert original() is None
    monkeypatch.setattr(compiler.threadpoolctl, "threadpool_info", lambda: elsewhere)
    assert original() is None


def test_a_link_to_the_environment_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment may be reached by a link, while a library's name is without one."""
    link = tmp_path / "packages"
    link.symlink_to(Path(torch.__file__).parents[1])
    monkeypatch.setattr(compiler.torch, "__file__", str(link / "torch" / "__init__.py"))
    assert compiler._openmp.__wrapped__() is not None
