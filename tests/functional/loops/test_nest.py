"""Small nests, whose results are worked out by hand or by Python."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from cnnpipe.functional.loops import Index, Nest, compiled, steps

NAN, INF = math.nan, math.inf


NUMBERS = itertools.count()


def run(write: Callable[[Nest], None], *arguments: Tensor | int, tasks: int = 1) -> None:
    """Compile and call; the number says that this nest is no other one."""
    compiled(lambda nest, _: write(nest))(next(NUMBERS))(tasks, *arguments)


def float64(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def counted(
    visit: Callable[[Nest], Iterator[Index]], *arguments: int, size: int = 40
) -> dict[int, int]:
    """How often a loop comes to each index; the arguments are those that `visit` takes."""
    counts = torch.zeros(size, dtype=torch.float64)

    def write(nest: Nest) -> None:
        array = nest.array("float64")
        for index in visit(nest):
            array.store(array.load(index) + nest.number(1.0, "float64"), index)

    run(write, counts, *arguments)
    return {index: int(count) for index, count in enumerate(counts.tolist()) if count}


RANGES = [(7,), (1,), (0,), (-3,), (2, 9), (5, 5), (6, 2), (0, 10, 3), (1, 11, 5), (3, 4, 9)]


@pytest.mark.parametrize("bounds", RANGES, ids=str)
def test_range_is_pythons(bounds: tuple[int, ...]) -> None:
    expected = dict.fromkeys(range(*bounds), 1)
    assert counted(lambda nest: nest.range(*bounds)) == expected

    def known_when_it_runs(nest: Nest) -> Iterator[Index]:
        return nest.range(*(nest.size() for _ in bounds))

    assert counted(known_when_it_runs, *bounds) == expected


@pytest.mark.parametrize("count", range(10))
def test_cut_ranges_visit_each_index_once(count: int) -> None:
    def in_blocks(nest: Nest) -> Iterator[Index]:
        for start, size in nest.blocks(count, 4):
            for k in range(size):
                yield start + k

    def in_chunks(nest: Nest) -> Iterator[Index]:
        for start, lanes, first in nest.chunks(3 * count, "float64"):
            assert lanes == 8
            for k in range(lanes if first is None else first):
                yield start + k

    assert counted(lambda nest: nest.unrolled(count)) == dict.fromkeys(range(count), 1)
    assert counted(in_blocks) == dict.fromkeys(range(count), 1)
    assert counted(in_chunks) == dict.fromkeys(range(3 * count), 1)


def test_integers() -> None:
    found = torch.zeros(11, dtype=torch.float64)

    def write(nest: Nest) -> None:
        numbers = nest.array("float64")
        a, b = nest.size(), nest.size()
        results = [
            *(a + b, a - b, a * b, a // b, a % b),
            *(a + 0, a * 1, 100 - a, 3 * a, a.at_most(b), b.at_most(20)),
        ]
        for at, result in enumerate(results):
            numbers.store(nest.converted(result), at)

    run(write, found, 17, 5)
    assert found.tolist() == [22, 12, 85, 3, 2, 17, 17, 83, 51, 5, 5]


def test_conditions() -> None:
    found = torch.zeros(6, dtype=torch.float64)

    def write(nest: Nest) -> None:
        numbers = nest.array("float64")
        low, high = nest.size(), nest.size()
        for index in nest.range(6):
            inside = nest.all(index >= low, index < high, (index % 2).equals(0))
            with nest.if_else(inside) as (then, otherwise):
                with then:
                    numbers.store(nest.number(1.0, "float64"), index)
                with otherwise:
                    numbers.store(nest.number(-1.0, "float64"), index)

    run(write, found, 2, 5)
    assert found.tolist() == [-1, -1, 1, -1, 1, -1]


def test_nothing_is_reordered() -> None:
    """1 is lost next to 10¹⁶, and comes back only if the large numbers meet first."""
    numbers, result = float64(1e16, 1, -1e16, 1), float64(0, 0)

    def write(nest: Nest) -> None:
        array, out = nest.array("float64"), nest.array("float64")
        total = nest.variable(nest.number(0.0, "float64"))
        for index in nest.range(4):
            total.value = total.value + array.load(index)
        out.store(total.value, 0)
        out.store(array.load(0, lanes=4).sum_of_first(3), 1)

    run(write, numbers, result)
    assert result.tolist() == [1, 0]


def test_only_fma_is_rounded_once() -> None:
    """(1 + e)² − 1 − 2·e is e², of which a rounded square knows nothing."""
    e = 2.0**-30
    result = float64(0, 0)

    def write(nest: Nest) -> None:
        array, out = nest.array("float64"), nest.array("float64")
        a, c = array.load(0), array.load(1)
        out.store(nest.fma(a, a, c), 0)
        out.store(a * a + c, 1)

    run(write, float64(1 + e, -1 - 2 * e), result)
    assert result.tolist() == [e**2, 0]


PAIRS = [(a, b) for a in (-2.0, 0.0, 1.5, INF, NAN) for b in (-INF, 0.0, 1.5, NAN)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors(dtype: torch.dtype) -> None:
    a, b = torch.tensor(PAIRS, dtype=dtype).unbind(1)
    found = torch.zeros(11, 20, dtype=dtype)

    def write(nest: Nest) -> None:
        name = str(dtype).removeprefix("torch.")
        left, right = nest.array(name), nest.array(name)
        out = nest.array(name, *steps(20))
        x, y = left.load(0, lanes=20), right.load(0, lanes=20)
        one, zero = (nest.number(value, name, 20) for value in (1.0, 0.0))
        results = [
            *(x + y, x - y, x * y, x / y, nest.square_root(x), nest.maximum(x, y)),
            *(nest.where(x.compare(sign, y), one, zero) for sign in (">", "<", "==")),
            nest.where(nest.logical_or(x.is_nan(), x.compare("==", y)), one, zero),
            nest.where(nest.lane_is(nest.size(), 20), one, zero),
        ]
        for at, result in enumerate(results):
            out.store(result, at)

    run(write, a.contiguous(), b.contiguous(), found, 7)
    expected = [
        *(a + b, a - b, a * b, a / b, a.sqrt(), a.maximum(b)),
        *(a > b, a < b, a == b, a.isnan() | (a == b), torch.arange(20) == 7),
    ]
    for result, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(result, truth.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16])
def test_squares_are_transposed(side: int) -> None:
    square = torch.arange(float(side * side)).view(side, side)
    found = torch.zeros(side, side)

    def write(nest: Nest) -> None:
        rows, columns = (nest.array("float32", *steps(side)) for _ in range(2))
        vectors = [rows.load(n, 0, lanes=side) for n in range(side)]
        for n, column in enumerate(nest.transposed(vectors)):
            columns.store(column, n, 0)

    run(write, square, found)
    assert torch.equal(found, square.T)


def test_types() -> None:
    """Rounding halves to the even number, the bits of a number, and both widths."""
    numbers = float64(-2.5, -0.5, 0.5, 1.5, 2.49, 1 + 2**-40)
    rounded, narrow = torch.zeros(6, dtype=torch.float64), torch.zeros(6)
    halves, wide = torch.zeros_like(rounded), torch.zeros_like(rounded)
    classes, chosen = torch.tensor([5, 3]), float64(0)

    def write(nest: Nest) -> None:
        x = nest.array("float64").load(0, lanes=6)
        float32 = nest.cast(x, "float32")
        nest.array("float64").store(nest.converted(nest.rounded(x)), 0)
        nest.array("float32").store(float32, 0)
        # One less in the exponent's field
        nest.array("float64").store(nest.from_bits(nest.bits(x) - 2**52), 0)
        nest.array("float64").store(nest.cast(float32, "float64"), 0)
        entry = nest.array("int64").integer(1)
        nest.array("float64").store(nest.converted(entry), 0)

    run(write, numbers, rounded, narrow, halves, wide, classes, chosen)
    assert rounded.tolist() == [-2, 0, 0, 2, 2, 1]
    assert torch.equal(narrow, numbers.float())
    assert torch.equal(wide, numbers.float().double())
    assert torch.equal(halves, numbers / 2)
    assert chosen.item() == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_masked_lanes_leave_the_memory_alone(dtype: torch.dtype, lanes: int) -> None:
    """Lanes beyond the first ones are read as 0 and not written; how many is known, or not."""
    name = str(dtype).removeprefix("torch.")
    numbers = torch.arange(1, lanes + 1, dtype=dtype)

    def write(nest: Nest, count: int) -> None:
        x, y = nest.array(name), nest.array(name, *steps(3 * lanes))
        given = nest.size()
        y.store(x.load(0, lanes=lanes, first=count), 0, lanes)
        y.store(x.load(0, lanes=lanes, first=given), 1, lanes)
        y.store(nest.number(2.0, name, lanes), 2, lanes, first=count)
        y.store(nest.number(2.0, name, lanes), 3, lanes, first=given)

    for count in range(lanes + 3):
        source = torch.cat([numbers[:count], torch.full((2 * lanes,), NAN, dtype=dtype)])
        results = torch.full((4, 3 * lanes), -1, dtype=dtype)
        run(partial(write, count=count), source, results, count)
        inside = min(count, lanes)
        expected = torch.full((4, 3 * lanes), -1, dtype=dtype)
        expected[:2, lanes : 2 * lanes] = 0
        expected[:2, lanes : lanes + inside] = numbers[:inside]
        expected[2:, lanes : lanes + inside] = 2
        assert torch.equal(results, expected), count


def test_axes_and_their_steps() -> None:
    """An array of three axes: entries, a row, a view of every second row, copies and zeros."""
    numbers = torch.arange(24, dtype=torch.float64).view(2, 3, 4)
    found = torch.full((30,), -1.0, dtype=torch.float64)

    def write(nest: Nest) -> None:
        x, y = nest.array("float64", *steps(3, 4)), nest.array("float64")
        one = nest.size()
        y.store(x.load(1, 2, 3), 0)
        y.store(x.load(one, one + 1, one * 3), 1)
        y.store(x.at(one, 1).load(2), 2)
        y.store(x.broadcast(0, one, 3, lanes=2), 3)
        y.store(x.at(0, one, steps=(8,)).load(1, 0), 5)  # two rows further
        y.at(8).copy(13, x.at(0, 0))
        y.at(10).zero(2)

    run(write, numbers, found, 1)
    copied = [0, 1, 0, 0, *range(4, 13)]
    assert found.tolist() == [23, 23, 18, 7, 7, 12, -1, -1, *copied, *[-1] * 9]
