"""Getting a file's bytes from mirrors that may answer anything.

A mirror is an http(s) URL or a folder. Whatever it answers is held in memory, bounded in size and
time, and counts only if it is the pinned content, compressed by gzip or not; otherwise the next
mirror is asked.
"""

import hashlib
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from time import monotonic
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, url2pathname

import requests
import urllib3
from tqdm import tqdm

from cnnpipe.data.idx import GZIP
from cnnpipe.data.sources import Source, SourceFile
from cnnpipe.system.artifacts import project_root
from cnnpipe.system.errors import InputError

Mirror = str | Path

REDIRECTS = 5
"""At most this many are followed for one file."""
PATIENCE = 15
"""A mirror may take this many time-outs for one file in all, even if it keeps sending."""
GZIP_OVERHEAD = 2**16
"""Bytes by which a gzip file of incompressible content may exceed it."""


class SourcesUnreachable(InputError):  # noqa: N818 - a state, said to a person
    """No mirror gave a file. The text says what each mirror said, and the two ways on."""


class MirrorError(Exception):
    """A mirror answered, but not with the file."""


class MissingFileError(MirrorError):
    """A mirror has no file of that name."""


class DeadMirrorError(MirrorError):
    """A mirror did not answer in time or at all, so it need not be asked for the other files."""


def mirrors_of(source: Source, mirror: str | None) -> list[Mirror]:
    """The mirrors to ask for a data set, first to last: `mirror` (CNNPIPE_MIRROR), then its own.

    Raises:
        InputError: `mirror` is neither a folder nor an http, https or file URL.
    """
    if mirror is None or not mirror.strip():
        return list(source.mirrors)
    first = parse_mirror(mirror)
    # The data sets share MNIST's file names, so one mirror of several holds a folder for each.
    preferred = [first] if source.name == "mnist" else [_join(first, source.name), first]
    return [*preferred, *source.mirrors]


def parse_mirror(text: str) -> Mirror:
    """CNNPIPE_MIRROR as a URL or a folder; relative folders start at the project's root.

    Raises:
        InputError: `text` is a URL of another scheme or of none, a file URL of another machine,
            or starts from a home that is not known.
    """
    with suppress(ValueError, RuntimeError):  # "http://[" is no URL, nobody lives in "~nobody!"
        if "://" not in text:
            return project_root() / Path(text).expanduser()
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.netloc:
            return text
        if parts.scheme == "file" and parts.netloc in ("", "localhost"):
            return Path(url2pathname(parts.path))
    raise InputError(
        f"CNNPIPE_MIRROR: got {text!r}; expected a folder, or an http, https or file URL"
    )


def fetch(source: Source, mirrors: Sequence[Mirror], timeout: float) -> Iterator[tuple[str, bytes]]:
    """Yield each file's name and decompressed content, as soon as a mirror has given it.

    Args:
        mirrors: asked in this order, each for every file that is still missing.
        timeout: seconds without an answer after which a mirror counts as dead.

    Raises:
        SourcesUnreachable: no mirror gave some file.
    """
    missing = list(source.files)
    said: list[str] = []
    for mirror in mirrors:
        for file in tuple(missing):
            try:
                place, content = _fetch_from(mirror, file, timeout)
            except MirrorError as answer:
                said.append(str(answer))
                tqdm.write(said[-1], file=sys.stderr)
                if isinstance(answer, DeadMirrorError):
                    break
            else:
                missing.remove(file)
                origin = f"{len(content):,} bytes from {_shown(place)}"
                tqdm.write(f"{file.name}: {origin}", file=sys.stderr)
                yield file.name, content
    if missing:
        raise SourcesUnreachable(_unreachable(source, missing, said))


def _unreachable(source: Source, missing: list[SourceFile], said: list[str]) -> str:
    names = ", ".join(file.name for file in missing)
    decompressed = ", or all without .gz" if source.files[0].sha256 is not None else ""
    lines = [f"data set {source.name}: no mirror gave {names}"]
    lines += [f"  {line}" for line in said or ["no mirror is named: see data.mirrors"]]
    lines += [
        "two ways on:",
        f"  set CNNPIPE_MIRROR to a URL or a folder that holds {source.files[0].name}.gz "
        f"and the other {len(source.files) - 1} files{decompressed}, and run `dvc repro` again",
        "  or take digits, which needs no network (`make repro` does this by itself): "
        "dvc exp run -S data.name=digits",
    ]
    return "\n".join(lines)


def _join(mirror: Mirror, name: str) -> Mirror:
    return mirror / name if isinstance(mirror, Path) else f"{mirror.rstrip('/')}/{name}"


def _shown(place: Mirror) -> str:
    """A place as it may be printed: without the password of a URL, be it valid or not."""
    if isinstance(place, Path):
        return str(place)
    scheme, _, rest = place.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _fetch_from(mirror: Mirror, file: SourceFile, timeout: float) -> tuple[Mirror, bytes]:
    """Where a mirror has a file, compressed or, if it is not there, as it is; and its content.

    Raises:
        MirrorError: it has neither, or not with the right content; the text begins with the place.
    """
    names = [f"{file.name}.gz"]
    if file.sha256 is not None:  # of other files only the gzip file has a known digest
        names.append(file.name)
    answers = []
    for name in names:
        place = _join(mirror, name)
        try:
            return place, _fetch_file(place, file, timeout)
        except MirrorError as error:
            answers.append(type(error)(f"{_shown(place)}: {error}"))
            if not isinstance(error, MissingFileError):
                raise answers[-1] from None
    raise answers[0]


def _fetch_file(place: Mirror, file: SourceFile, timeout: float) -> bytes:
    """One file from one place, checked, and decompressed if it is not already."""
    limit = file.size + GZIP_OVERHEAD
    if isinstance(place, Path):
        body = _read_file(place, limit)
    else:
        body = _read_url(place, file.name, limit, timeout)
    if body[:2] == GZIP:
        if file.gzip_md5 is not None:
            found = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if found != file.gzip_md5:
                raise MirrorError("wrong content: its MD5 is not the published one")
        content = decompress(body, file.size)
    elif file.sha256 is not None and len(body) == file.size:
        content = body
    else:
        raise MirrorError(f"wrong content: {_kind(body)} instead of a gzip file")
    if file.sha256 is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise MirrorError("wrong content: its SHA-256 is not the pinned one")
    return content


def decompress(compressed: bytes, size: int) -> bytes:
    """The `size` bytes in a gzip file of one member; stops at the first byte too many.

    Raises:
        MirrorError: the file is damaged or truncated, has something appended, or holds more or
            less than `size` bytes.
    """
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)  # a header and checksum of gzip, not of zlib
    try:
        content = gzip.decompress(compressed, size + 1)
    except zlib.error as error:
        raise MirrorError(f"damaged gzip file: {error}") from None
    if len(content) > size:
        raise MirrorError(f"wrong content: decompresses to more than {size:,} bytes")
    if not gzip.eof:
        raise MirrorError("damaged gzip file: truncated")
    if gzip.unused_data:
        raise MirrorError(f"damaged gzip file: {len(gzip.unused_data):,} bytes appended")
    if len(content) < size:
        raise MirrorError(f"wrong content: decompresses to {len(content):,} of {size:,} bytes")
    return content


def _kind(body: bytes) -> str:
    if not body:
        return "an empty body"
    return "a web page" if body.lstrip()[:1] == b"<" else f"{len(body):,} bytes"


def _read_file(path: Path, limit: int) -> bytes:
    if not path.parent.is_dir():
        raise DeadMirrorError("no such folder")
    if not path.is_file():
        raise MissingFileError("no such file")
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise MirrorError(error.strerror or str(error)) from None
    if len(content) > limit:
        raise MirrorError(f"too large: more than {limit:,} bytes")
    return content


def _read_url(url: str, name: str, limit: int, timeout: float) -> bytes:
    """The body of an HTTP answer, as sent.

    A time-out of `requests` bounds each wait for the network, not their sum: a server that drips
    one byte at a time, in its headers too, would hold us for hours. So a thread receives, and is
    left behind when its time is over.
    """
    reception = _Reception(url, limit, timeout)
    receiver = Thread(target=reception.run, daemon=True)
    deadline = monotonic() + PATIENCE * timeout
    receiver.start()
    with tqdm(desc=name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        while receiver.is_alive():
            receiver.join(0.1)
            bar.total = reception.length
            bar.update(len(reception.body) - bar.n)
            if monotonic() > deadline:
                raise DeadMirrorError(f"not complete after {PATIENCE * timeout:g} s")
    if reception.failure is not None:
        raise reception.failure
    return bytes(reception.body)


class _Session(requests.Session):
    """Trusts the certificates that the environment names, and follows no redirect by itself.

    A redirect that requests follows would unpack, without a bound, what comes along with it.
    Proxies and REQUESTS_CA_BUNDLE are read by requests; SSL_CERT_FILE, which Python and most other
    programs read, is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.verify = os.environ.get("SSL_CERT_FILE") or True

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        return None


@dataclass
class _Reception:
    """One HTTP answer while it comes in."""

    url: str
    limit: int
    timeout: float
    length: int | None = None
    body: bytearray = field(default_factory=bytearray)
    failure: Exception | None = None

    def run(self) -> None:
        try:
            self._receive()
        except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL):
            self.failure = MirrorError(f"refused address: {_line(_shown(self.url))}")
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.failure = DeadMirrorError(_through(error, self.url) + _reason(error, self.timeout))
        except Exception as error:
            self.failure = error

    def _receive(self) -> None:
        with _Session() as session:
            session.headers["Accept-Encoding"] = "identity"
            for _ in range(1 + REDIRECTS):
                # The session knows http and https only.
                with session.get(self.url, timeout=self.timeout, stream=True) as answer:
                    target = requests.Session.get_redirect_target(session, answer)
                    if target is None:
                        self._keep(answer)
                        return
                try:
                    self.url = urljoin(self.url, target)
                except ValueError:
                    raise MirrorError(f"refused address: {_line(target)}") from None
        raise MirrorError(f"more than {REDIRECTS} redirects")

    def _keep(self, answer: requests.Response) -> None:
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise MissingFileError(_line(f"{answer.status_code} {answer.reason}"))
        if answer.status_code != HTTPStatus.OK:
            raise MirrorError(_line(f"{answer.status_code} {answer.reason}"))
        self.length = answer.raw.length_remaining
        for chunk in answer.raw.stream(2**14, decode_content=False):  # as sent
            self.body += chunk
            if len(self.body) > self.limit:
                raise MirrorError(f"too large: more than {self.limit:,} bytes")


def _through(error: Exception, url: str) -> str:
    """What stands between here and a mirror, if it is to blame: the proxy."""
    if not isinstance(error, requests.exceptions.ProxyError):
        return ""
    proxy = requests.utils.select_proxy(url, getproxies())
    return f"proxy {_line(_shown(proxy or ''))}: "


def _reason(error: Exception, timeout: float) -> str:
    """What went wrong on the network, without the layers of exceptions it passed through."""
    root: BaseException = error
    while root.__context__ is not None:
        root = root.__context__
    if isinstance(root, TimeoutError):
        return f"no answer for {timeout:g} s"
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return _line(root) or type(root).__name__


def _line(text: object) -> str:
    """What a mirror sent, as one short line of characters that can be printed."""
    words = "".join(c if c.isprintable() else " " for c in str(text)).split()
    line = " ".join(words)
    return line if len(line) <= 200 else f"{line[:199]}…"
