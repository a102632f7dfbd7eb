from pathlib import Path

import pytest

from cnnpipe.functional.loops import compiler


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of their own for the machine code of these nests, which nobody needs again.

    All other tests share the user's: what the library compiles is compiled once for all of them.
    """
    if compiler._MISSING:
        pytest.skip(f"the compiler of loops {compiler._MISSING}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cnnpipe"
