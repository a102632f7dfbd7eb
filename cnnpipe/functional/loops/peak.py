"""What a processor can do at most: multiply-adds of numbers that stay in registers."""

from __future__ import annotations

import torch

from cnnpipe.functional.loops.compiler import compiled
from cnnpipe.functional.loops.nest import Nest

LANES = (8, 16)
"""Numbers of float32 in a register: of AVX2, of AVX-512. Without AVX-512 the first are faster."""
CHAINS = 12
"""A processor starts two multiply-adds in a cycle, and a sum is there four cycles later: eight
chains keep it busy. AVX2 has 16 registers for the sums and their two factors."""
STEPS = 4096
"""Of each chain, in one task."""
TASKS = 256
"""For each thread: some milliseconds, beside which the waking of the threads counts little."""


def run(lanes: int) -> None:
    """Compute on all threads, in float32."""
    threads = torch.get_num_threads()
    factors, sums = torch.rand(2, lanes), torch.empty(threads, CHAINS, lanes)
    _multiply_adds(lanes)(TASKS * threads, factors, sums)


def flops(lanes: int) -> int:
    """What `run` computes, where a multiply-add counts as two operations."""
    return 2 * TASKS * torch.get_num_threads() * STEPS * CHAINS * lanes


@compiled
def _multiply_adds(nest: Nest, lanes: int) -> None:
    """One task: chains that do not wait for each other, and no memory until their end."""
    factors = nest.array("float32", lanes)
    results = nest.array("float32", CHAINS * lanes, lanes)
    a, b = (factors.load(row, 0, lanes=lanes) for row in range(2))
    sums = [nest.variable(nest.number(0.0, "float32", lanes)) for _ in range(CHAINS)]
    for _ in nest.range(STEPS):
        for total in sums:
            total.value = nest.fma(a, b, total.value)
    for chain, total in enumerate(sums):
        results.store(total.value, nest.thread, chain, 0)
