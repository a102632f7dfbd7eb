"""Damage to files, of the kinds that disks, networks and people do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[bytes, random.Random], bytes]
"""Damages the content of a file."""
FileDamage = Callable[[Path, random.Random], object]
"""Damages a file in its place."""


def flip(data: bytes, randomness: random.Random) -> bytes:
    damaged = bytearray(data)
    damaged[randomness.randrange(len(data))] ^= 1 << randomness.randrange(8)
    return bytes(damaged)


def _a_run(change: Callable[[bytes, random.Random], bytes]) -> Damage:
    """Put something else in place of up to 512 bytes."""

    def damage(data: bytes, randomness: random.Random) -> bytes:
        start = randomness.randrange(len(data))
        end = min(len(data), start + randomness.randint(1, 512))
        return data[:start] + change(data[start:end], randomness) + data[end:]

    return damage


def _zero_the_tail(data: bytes, randomness: random.Random) -> bytes:
    start = randomness.randrange(len(data))
    return data[:start] + bytes(len(data) - start)


def _different(damage: Damage) -> Damage:
    """Damage again until something has changed: zeros over zeros are no damage."""

    def different(data: bytes, randomness: random.Random) -> bytes:
        while (damaged := damage(data, randomness)) == data:
            pass
        return damaged

    return different


_KINDS: dict[str, Damage] = {
    "a bit flipped": flip,
    "a bit of the first bytes flipped": lambda data, randomness: (
        flip(data[:64], randomness) + data[64:]
    ),
    "noise over a run": _a_run(lambda run, randomness: randomness.randbytes(len(run))),
    "zeros over a run": _a_run(lambda run, _: bytes(len(run))),
    "a run cut out": _a_run(lambda run, _: b""),
    "a run repeated": _a_run(lambda run, _: run + run),
    "zeros to the end": _zero_the_tail,
    "truncated": lambda data, randomness: data[: randomness.randrange(len(data))],
    "empty": lambda data, _: b"",
    "a little noise appended": lambda data, randomness: (
        data + randomness.randbytes(randomness.randint(1, 64))
    ),
    "appended to itself": lambda data, _: data + data,
}
BYTES: dict[str, Damage] = {name: _different(damage) for name, damage in _KINDS.items()}
"""Damage that knows nothing of a file's format; the result always differs."""


def rewritten(damage: Damage) -> FileDamage:
    def rewrite(path: Path, randomness: random.Random) -> None:
        path.write_bytes(damage(path.read_bytes(), randomness))

    return rewrite


def _instead(make: Callable[[Path], None]) -> FileDamage:
    def replace(path: Path, randomness: random.Random) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return replace


OBSTACLES: dict[str, FileDamage] = {
    "no file": _instead(lambda path: None),
    "a folder": _instead(Path.mkdir),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a link to nothing": _instead(lambda path: path.symlink_to("nothing")),
}
"""What may be in a file's place."""
