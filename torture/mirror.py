"""A mirror on this machine that answers in the way that the address asks for.

http://127.0.0.1:<port>/<behaviours>/<file>: the behaviours are one for all four files, or four of
them joined by commas, one for each in the order of FILE_NAMES.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from unittest.mock import patch

from cnnpipe.data.sources import FILE_NAMES, Source, SourceFile

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
"""Seconds; long for a loopback answer, short for a trial."""

GOOD = ("good", "plain", "labelled", "moved", "flood")
"""Behaviours that give the file."""

Body = Callable[[bytes], bytes]
"""What is sent in place of an archive."""


def _other(archive: bytes) -> bytes:
    content = bytearray(gzip.decompress(archive))
    content[7] ^= 1
    return gzip.compress(bytes(content))


BODIES: dict[str, tuple[Body, str]] = {
    "html": (
        lambda archive: b"\n<!DOCTYPE html><html>Log in to the network</html>",
        r"wrong content: a web page instead of a gzip file",
    ),
    "text": (lambda archive: b"not here", r"wrong content: 8 bytes instead of a gzip file"),
    "empty": (lambda archive: b"", r"wrong content: an empty body instead of a gzip file"),
    "truncated": (lambda archive: archive[:-5], r"damaged gzip file: truncated"),
    "flipped": (
        lambda archive: archive[:30] + bytes([archive[30] ^ 4]) + archive[31:],
        r"(damaged gzip file|wrong content): ",
    ),
    "other": (_other, r"wrong content: its SHA-256 is not the pinned one"),
    "little": (
        lambda archive: gzip.compress(b"little"),
        r"wrong content: decompresses to 6 of [\d,]+ bytes",
    ),
    "nested": (gzip.compress, r"wrong content: decompresses to \d+ of [\d,]+ bytes"),
    "bomb": (
        lambda archive: gzip.compress(bytes(2**22)),
        r"wrong content: decompresses to more than [\d,]+ bytes",
    ),
    "appended": (lambda archive: archive + archive, r"damaged gzip file: [\d,]+ bytes appended"),
    "large": (lambda archive: archive + bytes(2**20), r"too large: more than [\d,]+ bytes"),
}
"""Wrong bodies, and a regular expression for the error message of each."""

FAULTS = {name: message for name, (_, message) in BODIES.items()} | {
    "403": r"403 Forbidden",
    "404": r"404 Not Found",
    "500": r"500 Internal Server Error",
    "204": r"204 No Content",
    "206": r"206 Partial Content",
    "short": r"IncompleteRead\(\d+ bytes read, 20 more expected\)",
    "endless": r"too large: more than [\d,]+ bytes",
    "stall": r"no answer for 0\.3 s",
    "pause": r"no answer for 0\.3 s",
    "drip": r"not complete after 4\.5 s",
    "reset": r"Connection reset by peer",
    "nonsense": r"220 this is no web server",
    "many": r"got more than 100 headers",
    "lengths": r"Content-Length contained multiple unmatching values",
    "escape": r"500 \[2J out of order$",
    "loop": r"more than 5 redirects",
    "scheme": r"refused address: file:///etc/hostname",
    "address": r"refused address: http://\[",
}
"""All behaviours that do not give the file."""

DEAD = {"short", "stall", "pause", "drip", "reset", "nonsense", "many", "lengths"}
"""Faults after which a mirror is not asked for another file."""


@cache
def bomb(mebibytes: int = 512) -> bytes:
    """An intact gzip file of `mebibytes` MiB of zeros; 512 MiB take half a megabyte."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    # After a full flush nothing refers to what came before, so the same block can be repeated.
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(bytes(2**20), checksum)
    header = struct.pack("<4BI2B", 0x1F, 0x8B, 8, 0, 0, 0, 255)
    trailer = struct.pack("<2I", checksum, mebibytes * 2**20 % 2**32)
    return header + block * mebibytes + packer.flush() + trailer


class Mirror(BaseHTTPRequestHandler):
    """Answers as the behaviour says."""

    server: Server

    def do_GET(self) -> None:
        _, behaviours, *_, file = self.path.split("/")
        each = behaviours.split(",")
        name = file.removesuffix(".gz")
        place, archive = FILE_NAMES.index(name), ARCHIVES[f"{name}.gz"]
        behaviour = each[place % len(each)]
        self.server.asked.append(behaviour)
        if behaviour.isdigit():
            self.send_error(int(behaviour))
        elif behaviour in BODIES:
            body, _ = BODIES[behaviour]
            self.answer(body(archive))
        elif hasattr(self, behaviour):
            getattr(self, behaviour)(archive)
        else:
            self.send_error(404)

    def answer(self, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send(200, body, length, headers)

    def redirect(self, to: str, body: bytes = b"", **headers: str) -> None:
        self.send(302, body, None, {"Location": to} | headers)

    def send(self, status: int, body: bytes, length: int | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self, archive: bytes) -> None:
        self.answer(archive)

    def labelled(self, archive: bytes) -> None:
        self.answer(archive, Content_Type="application/x-gzip", Content_Encoding="gzip")

    def plain(self, archive: bytes) -> None:
        """The decompressed file, under its own name only."""
        if self.path.endswith(".gz"):
            self.send_error(404)
        else:
            self.answer(gzip.decompress(archive))

    def moved(self, archive: bytes) -> None:
        self.redirect(self.path.replace("moved", "good"))

    def flood(self, archive: bytes) -> None:
        self.redirect(self.path.replace("flood", "good"), bomb(), Content_Encoding="gzip")

    def short(self, archive: bytes) -> None:
        self.answer(archive[:-20], length=len(archive))
        self.close_connection = True

    def zeros(self, archive: bytes) -> None:
        self.answer(bomb(), Content_Encoding="gzip")

    def endless(self, archive: bytes) -> None:
        self.answer(archive, length=2**60)
        while True:
            self.wfile.write(bytes(2**16))

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

    def many(self, archive: bytes) -> None:
        self.answer(archive, len(archive), **{f"X-{number}": "x" for number in range(200)})

    def lengths(self, archive: bytes) -> None:
        self.answer(archive, Content_Length="3")

    def escape(self, archive: bytes) -> None:
        """What clears a terminal must not reach one."""
        self.send_response(500, "\x1b[2J\tout of order")
        self.end_headers()

    def loop(self, archive: bytes) -> None:
        self.redirect(self.path)

    def scheme(self, archive: bytes) -> None:
        self.redirect("file:///etc/hostname")

    def address(self, archive: bytes) -> None:
        self.redirect("http://[")

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    block_on_close = False
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirror)
        self.asked: list[str] = []
        """Behaviours, in the order they were asked for."""
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args: Any) -> None:
        pass


@contextmanager
def running() -> Iterator[Server]:
    """A server that answers as long as the block lasts, with no proxy in between."""
    bomb()  # which would take longer than a time-out when it is asked for
    with Server() as server, patch.dict(os.environ, {"NO_PROXY": "*", "no_proxy": "*"}):
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
