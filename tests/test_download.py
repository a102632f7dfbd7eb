"""Mirrors may answer anything: the next one is asked, and only the pinned content is kept."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cnnpipe.data.download import download
from cnnpipe.data.mirrors import (
    MirrorError,
    SourcesUnreachable,
    decompress,
    fetch,
    mirrors_of,
    parse_mirror,
)
from cnnpipe.data.sources import FILE_NAMES, MNIST_SIZES, Source, SourceFile, from_torchvision
from cnnpipe.errors import InputError
from cnnpipe.params import load_params

CONTENT = {name: f"{name} ".encode() * 50 for name in FILE_NAMES}
ARCHIVES = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENT.items()}
SOURCE = Source(
    name="tiny",
    files=tuple(
        SourceFile(name, len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    ),
    mirrors=(),
)
TIMEOUT = 0.3
"""Seconds; long for a loopback answer, short for a test."""


class Mirror(BaseHTTPRequestHandler):
    """Answers /<behaviour>/<file> as the behaviour says."""

    def do_GET(self) -> None:
        _, behaviour, *_, file = self.path.split("/")
        self.server.asked.append(behaviour)  # type: ignore[attr-defined]
        if behaviour.isdigit():
            self.send_error(int(behaviour))
        elif hasattr(self, behaviour):
            getattr(self, behaviour)(ARCHIVES[file])
        else:
            self.send_error(404)

    def answer(self, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def good(self, archive: bytes) -> None:
        self.answer(archive)

    def labelled(self, archive: bytes) -> None:
        self.answer(archive, Content_Type="application/x-gzip", Content_Encoding="gzip")

    def moved(self, archive: bytes) -> None:
        self.redirect(self.path.replace("moved", "good"))

    def html(self, archive: bytes) -> None:
        self.answer(b"\n<!DOCTYPE html><html>Log in to the network</html>")

    def text(self, archive: bytes) -> None:
        self.answer(b"not here")

    def empty(self, archive: bytes) -> None:
        self.answer(b"")

    def short(self, archive: bytes) -> None:
        self.answer(archive[:-20], length=len(archive))
        self.close_connection = True

    def truncated(self, archive: bytes) -> None:
        self.answer(archive[:-5])

    def flipped(self, archive: bytes) -> None:
        self.answer(archive[:30] + bytes([archive[30] ^ 4]) + archive[31:])

    def other(self, archive: bytes) -> None:
        content = bytearray(gzip.decompress(archive))
        content[7] ^= 1
        self.answer(gzip.compress(bytes(content)))

    def little(self, archive: bytes) -> None:
        self.answer(gzip.compress(b"little"))

    def bomb(self, archive: bytes) -> None:
        self.answer(gzip.compress(bytes(2**22)))

    def appended(self, archive: bytes) -> None:
        self.answer(archive + archive)

    def large(self, archive: bytes) -> None:
        self.answer(archive + bytes(2**20))

    def stall(self, archive: bytes) -> None:
        time.sleep(3 * TIMEOUT)
        self.close_connection = True

    def pause(self, archive: bytes) -> None:
        self.answer(archive[:10], length=len(archive))
        self.wfile.flush()
        time.sleep(3 * TIMEOUT)
        self.close_connection = True

    def drip(self, archive: bytes) -> None:
        for byte in b"HTTP/1.0 200 OK\r\nX: " + b"x" * 10_000:
            self.wfile.write(bytes([byte]))
            time.sleep(0.02)

    def reset(self, archive: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def nonsense(self, archive: bytes) -> None:
        self.wfile.write(b"220 this is no web server\r\n")
        self.close_connection = True

    def loop(self, archive: bytes) -> None:
        self.redirect(self.path)

    def scheme(self, archive: bytes) -> None:
        self.redirect("file:///etc/hostname")

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    block_on_close = False
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirror)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(running: Server) -> Server:
    running.asked.clear()
    return running


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that asks any other machine fails at once."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", f"connects to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A folder that serves as a mirror."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, archive in ARCHIVES.items():
        (folder / name).write_bytes(archive)
    return folder


def fetched(*mirrors: str | Path, source: Source = SOURCE) -> dict[str, bytes]:
    return dict(fetch(source, mirrors, TIMEOUT))


WRONG_ANSWERS = {
    "403": r"403 Forbidden",
    "404": r"404 Not Found",
    "500": r"500 Internal Server Error",
    "204": r"204 No Content",
    "html": r"wrong content: a web page instead of a gzip file",
    "text": r"wrong content: 8 bytes instead of a gzip file",
    "empty": r"wrong content: an empty body instead of a gzip file",
    "short": r"IncompleteRead\(\d+ bytes read, 20 more expected\)",
    "truncated": r"damaged gzip file: truncated",
    "flipped": r"(damaged gzip file|wrong content): ",
    "other": r"wrong content: its SHA-256 is not the pinned one",
    "little": r"wrong content: decompresses to 6 of [\d,]+ bytes",
    "bomb": r"wrong content: decompresses to more than [\d,]+ bytes",
    "appended": r"damaged gzip file: [\d,]+ bytes appended",
    "large": r"too large: more than [\d,]+ bytes",
    "stall": r"no answer for 0\.3 s",
    "pause": r"no answer for 0\.3 s",
    "drip": r"not complete after 4\.5 s",
    "reset": r"Connection reset by peer",
    "nonsense": r"220 this is no web server",
    "loop": r"refused redirect: Exceeded 5 redirects",
    "scheme": r"refused redirect: No connection adapters were found for 'file:///etc/hostname'",
}


@pytest.mark.parametrize("behaviour", WRONG_ANSWERS)
def test_wrong_answer_then_next_mirror(
    server: Server, behaviour: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    assert fetched(f"{server.url}/{behaviour}", f"{server.url}/good/") == CONTENT
    assert time.monotonic() - start < 6
    assert "good" in server.asked
    said = capsys.readouterr().err.splitlines()[0]
    assert re.search(f"/{behaviour}/.*: {WRONG_ANSWERS[behaviour]}", said), said


def test_each_answer_stands_on_its_own_line(server: Server) -> None:
    with pytest.raises(SourcesUnreachable) as raised:
        fetched(f"{server.url}/404", f"{server.url}/reset")
    first, *said = str(raised.value).splitlines()
    assert first == f"data set tiny: no mirror gave {', '.join(FILE_NAMES)}"
    assert said[:4] == [f"  {server.url}/404/{name}.gz: 404 Not Found" for name in FILE_NAMES]
    assert said[4] == f"  {server.url}/reset/{FILE_NAMES[0]}.gz: Connection reset by peer"
    assert said[5] == "two ways on:"


@pytest.mark.parametrize("behaviour", ["good", "labelled", "moved"])
def test_good_answers(server: Server, behaviour: str) -> None:
    assert fetched(f"{server.url}/{behaviour}") == CONTENT


def test_a_mirror_that_does_not_answer_is_asked_once(server: Server) -> None:
    assert fetched(f"{server.url}/reset", f"{server.url}/good") == CONTENT
    assert server.asked.count("reset") == 1


def test_files_may_come_from_different_mirrors(archives: Path, server: Server) -> None:
    (archives / f"{FILE_NAMES[1]}.gz").unlink()
    assert fetched(archives, f"{server.url}/good") == CONTENT
    assert server.asked == ["good"]


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(SourcesUnreachable, match="Connection refused"):
        fetched(f"http://127.0.0.1:{port}")


def test_the_ways_on_are_named(archives: Path) -> None:
    with pytest.raises(SourcesUnreachable) as raised:
        fetched(archives / "nowhere")
    text = str(raised.value)
    assert f"nowhere/{FILE_NAMES[0]}.gz: no such folder" in text
    assert "\n  set CNNPIPE_MIRROR to a URL or a folder that holds train-images" in text
    assert "dvc exp run -S data.name=digits" in text
    assert isinstance(raised.value, InputError)


def test_no_mirror_at_all() -> None:
    with pytest.raises(SourcesUnreachable, match=r"no mirror is named: see data\.mirrors"):
        fetched()


def test_passwords_are_not_shown(server: Server) -> None:
    url = server.url.replace("//", "//name:secret@") + "/404"
    with pytest.raises(SourcesUnreachable) as raised:
        fetched(url)
    assert "secret" not in str(raised.value)


def test_an_md5_pins_the_archive(archives: Path) -> None:
    name = FILE_NAMES[0]
    md5 = hashlib.md5(ARCHIVES[f"{name}.gz"]).hexdigest()
    file = SourceFile(name, len(CONTENT[name]), gzip_md5=md5)
    source = replace(SOURCE, files=(file,))
    assert fetched(archives, source=source) == {name: CONTENT[name]}
    (archives / f"{name}.gz").write_bytes(gzip.compress(CONTENT[name], mtime=1))
    with pytest.raises(SourcesUnreachable, match="its MD5 is not the published one"):
        fetched(archives, source=source)


def test_wrong_bytes_never_reach_the_folder(server: Server, tmp_path: Path) -> None:
    """Real MNIST's pins against this server's files, all right as gzip files."""
    params = load_params(Path(__file__).parent.parent / "params.yaml").data
    params = params.model_copy(update={"mirrors": [f"{server.url}/good"], "timeout": TIMEOUT})
    with pytest.raises(SourcesUnreachable, match="decompresses to 1,200 of 47,040,016 bytes"):
        download(params, tmp_path / "raw", mirror=f"{server.url}/html")
    assert not (tmp_path / "raw").exists()
    assert server.asked == ["html"] * 4 + ["good"] * 4


class TestDecompress:
    CONTENT = b"content " * 100
    ARCHIVE = gzip.compress(CONTENT, mtime=0)

    def test_good(self) -> None:
        assert decompress(self.ARCHIVE, len(self.CONTENT)) == self.CONTENT

    def test_every_bit_flip_is_noticed_or_harmless(self) -> None:
        """The time stamp and the system's name in a gzip header are not content."""
        for position in range(len(self.ARCHIVE)):
            for bit in range(8):
                damaged = bytearray(self.ARCHIVE)
                damaged[position] ^= 1 << bit
                try:
                    assert decompress(bytes(damaged), len(self.CONTENT)) == self.CONTENT
                except MirrorError:
                    continue

    def test_every_truncation_is_noticed(self) -> None:
        for length in range(len(self.ARCHIVE)):
            with pytest.raises(MirrorError, match="truncated"):
                decompress(self.ARCHIVE[:length], len(self.CONTENT))

    def test_a_bomb_takes_no_memory(self) -> None:
        packer = zlib.compressobj(wbits=31)
        bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
        tracemalloc.start()
        try:
            with pytest.raises(MirrorError, match="more than 10,000 bytes"):
                decompress(bomb, 10_000)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


class TestMirror:
    def test_urls_and_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert parse_mirror("https://example.org/mnist") == "https://example.org/mnist"
        assert parse_mirror(f"{tmp_path}") == tmp_path
        assert parse_mirror((tmp_path / "a b").as_uri()) == tmp_path / "a b"
        assert parse_mirror("file://localhost/data/mnist") == Path("/data/mnist")
        assert parse_mirror("../shared") == Path("../shared")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert parse_mirror("~/mnist") == tmp_path / "mnist"

    def test_relative_folders_start_at_the_project(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An experiment of DVC's queue runs elsewhere."""
        monkeypatch.setenv("DVC_ROOT", "/project")
        assert parse_mirror("../shared") == Path("/project/../shared")
        assert parse_mirror("/shared") == Path("/shared")

    @pytest.mark.parametrize("text", ["ftp://a/b", "s3://bucket", "http://", "file://host/x"])
    def test_other_urls_are_refused(self, text: str) -> None:
        with pytest.raises(InputError, match=f"CNNPIPE_MIRROR: got '{text}'; expected a folder"):
            parse_mirror(text)

    def test_order(self) -> None:
        mnist = Source("mnist", (), ("http://one", "http://two"))
        assert mirrors_of(mnist, None) == mirrors_of(mnist, " ") == ["http://one", "http://two"]
        assert mirrors_of(mnist, "http://own")[0] == "http://own"
        kmnist = Source("kmnist", (), ("http://one",))
        assert mirrors_of(kmnist, "http://own/") == [
            "http://own/kmnist",
            "http://own/",
            "http://one",
        ]
        assert mirrors_of(kmnist, "/own")[:2] == [Path("/own/kmnist"), Path("/own")]


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_torchvision_names_the_files(name: Any) -> None:
    source = from_torchvision(name)
    assert source.name == name
    assert {file.name: file.size for file in source.files} == MNIST_SIZES
    assert all(len(file.gzip_md5 or "") == 32 for file in source.files)
    assert all(mirror.startswith("http") for mirror in source.mirrors)
