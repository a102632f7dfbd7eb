"""Mirrors may answer anything: the next one is asked, and only the pinned content is kept."""

from __future__ import annotations

import gzip
import re
import shutil
import socket
import ssl
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cnnpipe.data.sources import FILE_NAMES, MNIST_SIZES, Source, SourceFile, from_torchvision
from cnnpipe.download.files import download
from cnnpipe.download.mirrors import (
    MirrorError,
    SourcesUnreachable,
    decompress,
    fetch,
    mirrors_of,
    parse_mirror,
)
from cnnpipe.params.loading import load_params
from cnnpipe.system.errors import InputError
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from torture.mirror import ARCHIVES, CONTENT, SOURCE, TIMEOUT, Mirror, Server, bomb, running


@pytest.fixture(scope="module")
def only_server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def server(only_server: Server) -> Server:
    only_server.asked.clear()
    return only_server


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


def test_what_comes_along_with_a_redirect_is_not_unpacked(server: Server) -> None:
    bomb()
    tracemalloc.start()
    try:
        assert fetched(f"{server.url}/flood") == CONTENT
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_password_outlives_a_redirect_of_its_mirror_unseen(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.url.replace("//", "//name:secret@")
    assert fetched(f"{url}/scheme", f"{url}/404", f"{url}/moved") == CONTENT
    printed = capsys.readouterr().err
    assert "/404/train" in printed
    assert "secret" not in printed


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(
        SourcesUnreachable, match=r"\n  http://\[/train-.*gz: refused address: http"
    ):
        fetched("http://name:secret@[")


class Proxy(Mirror):
    """Is asked for whole addresses, and answers for all of them."""

    def do_GET(self) -> None:
        self.path = urlsplit(self.path).path
        super().do_GET()


def test_a_proxy_is_asked_and_named_if_it_is_not_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(server, "RequestHandlerClass", Proxy)
    monkeypatch.setenv("http_proxy", server.url)
    assert fetched("http://mirror.invalid/good") == CONTENT
    monkeypatch.setenv("http_proxy", "http://name:secret@127.0.0.1:9")
    with pytest.raises(SourcesUnreachable) as raised:
        fetched("http://mirror.invalid/good")
    assert "gz: proxy http://127.0.0.1:9: Connection refused\n" in str(raised.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes a certificate")
def test_a_companys_certificate_is_trusted_where_the_environment_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=company"
    name = ["-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", *options.split(), *name, "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    variables = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
    with running() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:") + "/good"
        with pytest.raises(SourcesUnreachable, match="certificate verify failed"):
            fetched(url)
        for variable in variables:
            with monkeypatch.context() as patch:
                patch.setenv(variable, certificate)
                assert fetched(url) == CONTENT


def test_a_folder_or_a_link_to_itself_is_no_archive(archives: Path) -> None:
    first, second = (archives / f"{name}.gz" for name in FILE_NAMES[:2])
    first.unlink()
    first.mkdir()
    second.unlink()
    second.symlink_to(second)
    with pytest.raises(SourcesUnreachable) as raised:
        fetched(archives)
    assert f"  {first}: no such file\n  {second}: no such file\n" in str(raised.value)


def test_files_may_come_from_different_mirrors(archives: Path, server: Server) -> None:
    (archives / f"{FILE_NAMES[1]}.gz").unlink()
    assert fetched(archives, f"{server.url}/good") == CONTENT
    assert server.asked == ["good"]


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_files_may_be_decompressed(kind: str, archives: Path, server: Server) -> None:
    """All without .gz; and one of them called .gz all the same, as browsers leave it."""
    for name, content in CONTENT.items():
        (archives / f"{name}.gz").unlink()
        (archives / name).write_bytes(content)
    (archives / FILE_NAMES[3]).rename(archives / f"{FILE_NAMES[3]}.gz")
    assert fetched(archives if kind == "folder" else f"{server.url}/plain") == CONTENT


def test_a_wrong_decompressed_file_is_named(archives: Path) -> None:
    archive = archives / f"{FILE_NAMES[0]}.gz"
    file = archives / FILE_NAMES[0]
    archive.unlink()
    file.write_bytes(bytes(len(CONTENT[FILE_NAMES[0]])))
    with pytest.raises(SourcesUnreachable) as raised:
        fetched(archives)
    assert f"\n  {file}: wrong content: its SHA-256 is not the pinned one\n" in str(raised.value)


def test_a_file_known_by_its_archive_alone_is_not_asked_for_otherwise(archives: Path) -> None:
    name = FILE_NAMES[0]
    (archives / f"{name}.gz").rename(archives / name)
    source = Source("tiny", (SourceFile(name, 1_150, gzip_md5="0" * 32),), ())
    with pytest.raises(SourcesUnreachable, match=r"idx3-ubyte\.gz: no such file\n"):
        fetched(archives, source=source)


def test_a_refused_connection_is_reported() -> None:
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


def test_wrong_bytes_never_reach_the_folder(server: Server, tmp_path: Path) -> None:
    """Real MNIST's pins against this server's files, all right as gzip files."""
    params = load_params(Params, ROOT / "params.yaml").data
    params = params.model_copy(update={"mirrors": [f"{server.url}/good"], "timeout": TIMEOUT})
    with pytest.raises(SourcesUnreachable, match="decompresses to 1,200 of 47,040,016 bytes"):
        download(params, tmp_path / "raw", mirror=f"{server.url}/html")
    assert not (tmp_path / "raw").exists()
    assert server.asked == ["html"] * 4 + ["good"] * 4


class TestDecompress:
    CONTENT = b"content " * 100
    ARCHIVE = gzip.compress(CONTENT, mtime=0)

    def test_every_truncation_is_noticed(self) -> None:
        for length in range(len(self.ARCHIVE)):
            with pytest.raises(MirrorError, match="truncated"):
                decompress(self.ARCHIVE[:length], len(self.CONTENT))

    def test_a_bomb_takes_no_memory(self) -> None:
        archive = bomb(64)
        assert zlib.crc32(gzip.decompress(archive)) == zlib.crc32(bytes(2**26))
        tracemalloc.start()
        try:
            with pytest.raises(MirrorError, match="more than 10,000 bytes"):
                decompress(archive, 10_000)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


class TestMirror:
    def test_urls_and_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert parse_mirror("https://example.org/mnist") == "https://example.org/mnist"
        assert parse_mirror(f"{tmp_path}") == tmp_path
        for name in ("a b", "a%20b", "é"):
            assert parse_mirror((tmp_path / name).as_uri()) == tmp_path / name
        assert parse_mirror("file://localhost/data/mnist") == Path("/data/mnist")
        assert parse_mirror("../shared") == Path("../shared")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert parse_mirror("~/mnist") == tmp_path / "mnist"

    def test_relative_folders_start_at_the_project(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An experiment of DVC's queue runs elsewhere."""
        monkeypatch.setenv("DVC_ROOT", "/project")
        assert parse_mirror("../shared") == Path("/project/../shared")
        assert parse_mirror("/shared") == Path("/shared")

    @pytest.mark.parametrize(
        "text", ["ftp://a/b", "s3://bucket", "http://", "file://host/x", "http://[", "~no!/x"]
    )
    def test_other_urls_are_refused(self, text: str) -> None:
        with pytest.raises(
            InputError, match=f"CNNPIPE_MIRROR: got '{re.escape(text)}'; expected a folder"
        ):
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
