"""Damage to the bytes of a file, of the kinds that disks, networks and people do."""

from __future__ import annotations

import random
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, randomness: random.Random) -> bytes:
    damaged = bytearray(data)
    damaged[randomness.randrange(len(data))] ^= 1 << randomness.randrange(8)
    return bytes(damaged)


def flip_in_the_first_bytes(data: bytes, randomness: random.Random) -> bytes:
    return flip(data[:64], randomness) + data[64:]


def overwrite(data: bytes, randomness: random.Random) -> bytes:
    start, end = _run(data, randomness)
    return data[:start] + randomness.randbytes(end - start) + data[end:]


def zero(data: bytes, randomness: random.Random) -> bytes:
    start, end = _run(data, randomness)
    return data[:start] + bytes(end - start) + data[end:]


def zero_the_tail(data: bytes, randomness: random.Random) -> bytes:
    start = randomness.randrange(len(data))
    return data[:start] + bytes(len(data) - start)


def cut_out(data: bytes, randomness: random.Random) -> bytes:
    start, end = _run(data, randomness)
    return data[:start] + data[end:]


def repeat(data: bytes, randomness: random.Random) -> bytes:
    start, end = _run(data, randomness)
    return data[:end] + data[start:]


def truncate(data: bytes, randomness: random.Random) -> bytes:
    return data[: randomness.randrange(len(data))]


def empty(data: bytes, randomness: random.Random) -> bytes:
    return b""


def append(data: bytes, randomness: random.Random) -> bytes:
    return data + randomness.randbytes(randomness.randint(1, 64))


def append_itself(data: bytes, randomness: random.Random) -> bytes:
    return data + data


def _run(data: bytes, randomness: random.Random) -> tuple[int, int]:
    start = randomness.randrange(len(data))
    return start, min(len(data), start + randomness.randint(1, 512))


KINDS: tuple[Damage, ...] = (
    *(flip, flip, flip_in_the_first_bytes, overwrite, zero, zero_the_tail),
    *(cut_out, repeat, truncate, empty, append, append_itself),
)


def damaged(data: bytes, randomness: random.Random) -> tuple[str, bytes]:
    """What was done, and other bytes than `data`."""
    while True:
        kind = randomness.choice(KINDS)
        if (result := kind(data, randomness)) != data:
            return kind.__name__.replace("_", " "), result
