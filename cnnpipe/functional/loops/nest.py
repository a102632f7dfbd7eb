"""Loop nests in Python that become machine code: what is written is what is computed.

A function that writes a nest runs once, and leaves the code of its loops behind:

    for y in nest.range(H):         a loop of the machine code, whose body is written once
    for tap in range(9):            a loop of Python, whose body is written nine times: unrolled
    total = nest.variable(zero)     a value that changes: a register
    total.value = fma(a, b, total.value)

Numbers are vectors of `lanes` neighbours in memory, so all lanes do the same. Nothing is reordered:
a sum is the chain of additions that the loops say, whatever the width of the processor's vectors.
`fma` is a·b + c rounded once. That is why the results have the same bits on every processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, cast

from llvmlite import ir

INDEX = ir.IntType(64)
FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Index:
    """An integer known when the code runs: a size, a loop's counter, or one for each lane."""

    builder: ir.IRBuilder
    base: Any
    plus: int = 0
    """Added where the sum is needed: what differs by a constant has one register."""

    @property
    def value(self) -> Any:
        return self.builder.add(self.base, self._constant(self.plus)) if self.plus else self.base

    def __add__(self, other: int | Index) -> Index:
        if isinstance(other, int):
            return Index(self.builder, self.base, self.plus + other)
        return Index(self.builder, self.builder.add(self.base, other.base), self.plus + other.plus)

    def __sub__(self, other: int | Index) -> Index:
        return self + other * -1

    def __mul__(self, other: int | Index) -> Index:
        if not isinstance(other, int):
            return self._with("mul", other)
        if other == 1:
            return self
        product = self.builder.mul(self.base, self._constant(other))
        return Index(self.builder, product, self.plus * other)

    def __rsub__(self, other: int) -> Index:
        return self * -1 + other

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other: int | Index) -> Index:
        """Of numbers that are not negative."""
        return self if isinstance(other, int) and other == 1 else self._with("sdiv", other)

    def __mod__(self, other: int | Index) -> Index:
        """Of numbers that are not negative."""
        return self._with("srem", other)

    def __lt__(self, other: int | Index) -> Any:
        return self.builder.icmp_signed("<", self.value, constant(other))

    def __ge__(self, other: int | Index) -> Any:
        return self.builder.icmp_signed(">=", self.value, constant(other))

    def equals(self, other: int | Index) -> Any:
        return self.builder.icmp_signed("==", self.value, constant(other))

    def at_most(self, other: int | Index) -> Index:
        smaller = self < other
        return Index(self.builder, self.builder.select(smaller, self.value, constant(other)))

    def at_least(self, other: int | Index) -> Index:
        smaller = self < other
        return Index(self.builder, self.builder.select(smaller, constant(other), self.value))

    def _with(self, operation: str, other: int | Index) -> Index:
        operate = getattr(self.builder, operation)
        number = self._constant(other) if isinstance(other, int) else other.value
        return Index(self.builder, operate(self.value, number))

    def _constant(self, number: int) -> Any:
        kind = self.base.type
        return kind([number] * kind.count if isinstance(kind, ir.VectorType) else number)


def constant(number: int | Index) -> Any:
    return number.value if isinstance(number, Index) else INDEX(number)


@dataclass(frozen=True)
class Vector:
    """`lanes` numbers, or one; a comparison gives truth values for `where`."""

    nest: Nest
    value: Any

    @property
    def lanes(self) -> int:
        kind = self.value.type
        return kind.count if isinstance(kind, ir.VectorType) else 1

    def sum_of_first(self, count: int) -> Vector:
        """Of the lanes, one after the other."""
        builder, entry = self.nest.builder, ir.IntType(32)
        first, *others = (
            Vector(self.nest, builder.extract_element(self.value, entry(lane)))
            for lane in range(count)
        )
        return sum(others, start=first)

    def __add__(self, other: Vector) -> Vector:
        return self._of("fadd", other)

    def __sub__(self, other: Vector) -> Vector:
        return self._of("fsub", other)

    def __mul__(self, other: Vector) -> Vector:
        return self._of("fmul", other)

    def __truediv__(self, other: Vector) -> Vector:
        return self._of("fdiv", other)

    def compare(self, sign: str, other: Vector) -> Vector:
        """False where one of the two is NaN."""
        return Vector(self.nest, self.nest.builder.fcmp_ordered(sign, self.value, other.value))

    def is_nan(self) -> Vector:
        return Vector(self.nest, self.nest.builder.fcmp_unordered("uno", self.value, self.value))

    def _of(self, operation: str, other: Vector) -> Vector:
        operate = getattr(self.nest.builder, operation)
        return Vector(self.nest, operate(self.value, other.value))


class Variable:
    """A value that the loops change."""

    def __init__(self, nest: Nest, start: Vector) -> None:
        self._nest = nest
        self._place = nest.reserve(start.value.type)
        self.value = start

    @property
    def value(self) -> Vector:
        if self._known_in is self._nest.builder.block:  # in a straight piece of code
            return self._known
        return Vector(self._nest, self._nest.builder.load(self._place))

    @value.setter
    def value(self, new: Vector) -> None:
        self._known, self._known_in = new, self._nest.builder.block
        self._nest.builder.store(new.value, self._place)


@dataclass(frozen=True)
class Array:
    """Numbers in memory, with the steps (in numbers) from one entry of each axis to the next.

    The last axis is dense. Steps and indices are ints or `Index`.
    """

    nest: Nest
    start: Any
    dtype: str
    steps: tuple[int | Index, ...]

    def load(
        self, *indices: int | Index, lanes: int = 1, first: int | Index | None = None
    ) -> Vector:
        """`lanes` neighbours along the last axis; of them only the `first` are read, if named."""
        builder, place = self.nest.builder, self._place(indices)
        kind = FLOATS[self.dtype]
        kind = kind if lanes == 1 else ir.VectorType(kind, lanes)
        if first is None or (isinstance(first, int) and first >= lanes):
            return Vector(self.nest, builder.load(place, align=BYTES[self.dtype], typ=kind))
        return self.nest.intrinsic(
            f"llvm.masked.load.v{lanes}{_suffix(self.dtype)}.p0",
            kind,
            [
                place,
                ir.IntType(32)(BYTES[self.dtype]),
                self._mask(first, lanes),
                _zeros(kind),
            ],
        )

    def store(
        self, vector: Vector, *indices: int | Index, first: int | Index | None = None
    ) -> None:
        builder = self.nest.builder
        lanes = vector.lanes
        place = self._place(indices)
        if first is None or (isinstance(first, int) and first >= lanes):
            builder.store(vector.value, place, align=BYTES[self.dtype])
            return
        self.nest.intrinsic(
            f"llvm.masked.store.v{lanes}{_suffix(self.dtype)}.p0",
            ir.VoidType(),
            [vector.value, place, ir.IntType(32)(BYTES[self.dtype]), self._mask(first, lanes)],
        )

    def broadcast(self, *indices: int | Index, lanes: int) -> Vector:
        """One number in all lanes."""
        return self.nest.repeated(self.load(*indices), lanes)

    def at(self, *indices: int | Index, steps: Sequence[int | Index] | None = None) -> Array:
        """The array that starts at these indices, of the axes left; or with the steps named."""
        left = self.steps[len(indices) :] if steps is None else (*steps, 1)
        return Array(self.nest, self._place(indices), self.dtype, left)

    def integer(self, *indices: int | Index) -> Index:
        """An entry of an array of int64."""
        return Index(self.nest.builder, self.nest.builder.load(self._place(indices), typ=INDEX))

    @property
    def flat(self) -> Array:
        return self.at(steps=())

    def zero(self, count: int) -> None:
        """Write zeros into `count` neighbours."""
        for at, lanes, first in self.nest.chunks(count, self.dtype):
            self.flat.store(self.nest.number(0.0, self.dtype, lanes), at, first=first)

    def copy(self, count: int, source: Array) -> None:
        """Copy `count` neighbours from another array."""
        for at, lanes, first in self.nest.chunks(count, self.dtype):
            vector = source.flat.load(at, lanes=lanes, first=first)
            self.flat.store(vector, at, first=first)

    def _mask(self, first: int | Index, lanes: int) -> Any:
        if isinstance(first, int):
            truth = ir.VectorType(ir.IntType(1), lanes)
            return ir.Constant(truth, [n < first for n in range(lanes)])
        limit = self.nest.repeated(Vector(self.nest, first.value), lanes)
        return self.nest.builder.icmp_signed("<", _numbers(lanes), limit.value)

    def _place(self, indices: Sequence[int | Index]) -> Any:
        builder, start, kind = self.nest.builder, self.start, FLOATS.get(self.dtype, INDEX)
        fixed, moving = 0, None
        for index, step in zip(indices, self.steps, strict=False):
            distance = index * step
            if isinstance(distance, int):
                fixed += distance
            else:
                fixed += distance.plus
                moving = distance.base if moving is None else builder.add(moving, distance.base)
        if moving is not None:
            start = builder.gep(start, [moving], source_etype=kind)
        return builder.gep(start, [INDEX(fixed)], source_etype=kind) if fixed else start


class Nest:
    """Writes the code of one task; a kernel is many of them, which threads share out."""

    def __init__(self, name: str) -> None:
        self.module = ir.Module()
        pointer = ir.PointerType(INDEX)
        signature = ir.FunctionType(ir.VoidType(), [INDEX, INDEX, pointer])
        self._function = ir.Function(self.module, signature, name)
        self._start = ir.IRBuilder(self._function.append_basic_block("variables"))
        self.builder = ir.IRBuilder(self._function.append_basic_block("task"))
        task, thread, self._arguments = self._function.args
        self.task, self.thread = Index(self.builder, task), Index(self.builder, thread)
        self._taken = 0

    def finish(self) -> str:
        self._start.branch(self._function.basic_blocks[1])
        self.builder.ret_void()
        return str(self.module)

    def reserve(self, kind: Any) -> Any:
        return self._start.alloca(kind)

    def size(self) -> Index:
        """The next argument, an integer."""
        place = self.builder.gep(self._arguments, [INDEX(self._taken)])
        self._taken += 1
        return Index(self.builder, self.builder.load(place))

    def array(self, dtype: str, *steps: int | Index) -> Array:
        """The next argument, an array whose axes have these steps; the last one is 1."""
        address = self.builder.inttoptr(self.size().value, ir.PointerType())
        return Array(self, address, dtype, (*steps, 1))

    def range(self, *bounds: int | Index) -> Iterator[Index]:
        """As Python's, for positive steps: stop; start and stop; or start, stop and step."""
        start, stop, step = ((0, *bounds, 1), (*bounds, 1), bounds)[len(bounds) - 1]
        if isinstance(start, int) and isinstance(stop, int):
            times = len(range(start, stop, cast("int", step)))
            if times <= 1:
                if times:
                    yield Index(self.builder, INDEX(start))
                return
        builder, function = self.builder, self._function
        before = builder.block
        body, after = function.append_basic_block("body"), function.append_basic_block("after")
        first = constant(start)
        builder.cbranch(builder.icmp_signed("<", first, constant(stop)), body, after)
        builder.position_at_end(body)
        counter = builder.phi(INDEX)
        counter.add_incoming(first, before)
        yield Index(builder, counter)
        following = builder.add(counter, constant(step))
        counter.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, constant(stop)), body, after)
        builder.position_at_end(after)

    def blocks(self, count: int, size: int) -> Iterator[tuple[Index, int]]:
        """Cut a range into blocks of a size: where one starts, and the size, less for the last."""
        whole = count // size * size
        for start in self.range(0, whole, size):
            yield start, size
        if whole < count:
            yield Index(self.builder, INDEX(whole)), count - whole

    def chunks(self, count: int, dtype: str) -> Iterator[tuple[Index, int, int | None]]:
        """Cut neighbours into vectors: where one starts, its lanes, how many of them count."""
        lanes = 64 // BYTES[dtype]
        for start, size in self.blocks(count, lanes):
            yield start, lanes, None if size == lanes else size

    def unrolled(self, count: int) -> Iterator[Index]:
        """A range whose body is written twice where that divides it: half as many steps to count.

        Four times were no faster, and took a fifth longer to compile.
        """
        times = 2 - count % 2
        for start in self.range(0, count, times):
            for k in range(times):
                yield start + k

    def transposed(self, rows: Sequence[Vector]) -> list[Vector]:
        """Of as many vectors as each has lanes, a power of two: lane k of row n is lane n of row k.

        Pairs of rows exchange half of their lanes: single ones, then pairs of them, and so on.
        """
        count, rows = len(rows), list(rows)
        step = 1
        while step < count:
            for k in (k for k in range(count) if not k & step):
                upper, lower = rows[k], rows[k + step]
                kept = [n if not n & step else count + n - step for n in range(count)]
                rows[k] = self._shuffled(upper, lower, kept)
                rows[k + step] = self._shuffled(upper, lower, [n + step for n in kept])
            step *= 2
        return rows

    def _shuffled(self, a: Vector, b: Vector, lanes: Sequence[int]) -> Vector:
        """Lanes of a, and after them, those of b, by their numbers."""
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return Vector(self, self.builder.shuffle_vector(a.value, b.value, chosen))

    def all(self, *conditions: Any) -> Any:
        return reduce(self.builder.and_, conditions)

    def if_else(self, condition: Any) -> Any:
        """Two blocks of code: `with nest.if_else(…) as (then, otherwise)`, each to be entered."""
        return self.builder.if_else(condition)

    def variable(self, start: Vector) -> Variable:
        return Variable(self, start)

    def number(self, value: float, dtype: str, lanes: int = 1) -> Vector:
        kind = FLOATS[dtype]
        return self.repeated(Vector(self, kind(value)), lanes)

    def repeated(self, scalar: Vector, lanes: int) -> Vector:
        if lanes == 1:
            return scalar
        undefined, entry = _undefined(ir.VectorType(scalar.value.type, lanes)), ir.IntType(32)
        first = self.builder.insert_element(undefined, scalar.value, entry(0))
        zeros = _zeros(ir.VectorType(entry, lanes))
        return Vector(self, self.builder.shuffle_vector(first, undefined, zeros))

    def fma(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """a·b + c, rounded once."""
        return self.intrinsic(f"llvm.fma.{_name(a)}", a.value.type, [v.value for v in (a, b, c)])

    def maximum(self, a: Vector, b: Vector) -> Vector:
        """The larger one; NaN if one of them is."""
        larger = self.builder.fcmp_unordered(">", a.value, b.value)
        b_is_number = self.builder.fcmp_ordered("ord", b.value, b.value)
        chosen = self.builder.select(larger, a.value, b.value)
        return Vector(self, self.builder.select(b_is_number, chosen, b.value))

    def lane_is(self, number: Index, lanes: int) -> Vector:
        """True in the lane of this number."""
        repeated = self.repeated(Vector(self, number.value), lanes)
        equal = self.builder.icmp_signed("==", _numbers(lanes), repeated.value)
        return Vector(self, equal)

    def where(self, condition: Vector, a: Vector, b: Vector) -> Vector:
        return Vector(self, self.builder.select(condition.value, a.value, b.value))

    def logical_or(self, a: Vector, b: Vector) -> Vector:
        return Vector(self, self.builder.or_(a.value, b.value))

    def converted(self, number: Index, dtype: str = "float64") -> Vector:
        return Vector(self, self.builder.sitofp(number.value, _like(number.value, FLOATS[dtype])))

    def cast(self, number: Vector, dtype: str) -> Vector:
        """The same numbers in another floating-point type."""
        kind = _like(number.value, FLOATS[dtype])
        if number.value.type == kind:
            return number
        wider = dtype == "float64"
        change = self.builder.fpext if wider else self.builder.fptrunc
        return Vector(self, change(number.value, kind))

    def rounded(self, number: Vector) -> Index:
        """The integers next to numbers that are neither NaN nor very large."""
        name = f"llvm.roundeven.{_name(number)}"
        nearest = self.intrinsic(name, number.value.type, [number.value])
        kind = _like(number.value, INDEX)
        return Index(self.builder, self.builder.fptosi(nearest.value, kind))

    def bits(self, number: Vector) -> Index:
        """Those of numbers of float64, as integers."""
        return Index(self.builder, self.builder.bitcast(number.value, _like(number.value, INDEX)))

    def from_bits(self, bits: Index) -> Vector:
        kind = _like(bits.value, FLOATS["float64"])
        return Vector(self, self.builder.bitcast(bits.value, kind))

    def square_root(self, a: Vector) -> Vector:
        return self.intrinsic(f"llvm.sqrt.{_name(a)}", a.value.type, [a.value])

    def intrinsic(self, name: str, result: Any, operands: Sequence[Any]) -> Vector:
        if name in self.module.globals:
            function = self.module.globals[name]
        else:
            signature = ir.FunctionType(result, [operand.type for operand in operands])
            function = ir.Function(self.module, signature, name)
        return Vector(self, self.builder.call(function, operands))


# Constants are kept, so that each becomes text once.


@cache
def _zeros(kind: Any) -> Any:
    return ir.Constant(kind, None)


@cache
def _undefined(kind: Any) -> Any:
    return ir.Constant(kind, ir.Undefined)


@cache
def _numbers(lanes: int) -> Any:
    return ir.Constant(ir.VectorType(INDEX, lanes), list(range(lanes)))


def _like(value: Any, kind: Any) -> Any:
    """The type for as many lanes as the value has."""
    lanes = value.type
    return ir.VectorType(kind, lanes.count) if isinstance(lanes, ir.VectorType) else kind


def _name(vector: Vector) -> str:
    kind = vector.value.type
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return _suffix(kind)


def _suffix(dtype: Any) -> str:
    return "f64" if dtype == "float64" or isinstance(dtype, ir.DoubleType) else "f32"


def steps(*sizes: int) -> tuple[int, ...]:
    """Of a dense array with axes of these sizes and one before them; the last axis's 1 is left out.

    >>> steps(2, 3, 5)
    (30, 15, 5)
    """
    return tuple(math.prod(sizes[axis:]) for axis in range(len(sizes)))
