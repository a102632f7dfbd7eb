"""Try all promises, or those that are named: `python -m torture [NAME ...]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click

from cnnpipe.artifacts import atomic_write, save_json
from cnnpipe.hardware import describe
from torture.campaign import Outcome, as_json, table
from torture.promises import PROMISES, try_named

RESULTS = Path("reports/torture.json")
DOCUMENT = Path("docs/reliability.md")
BEGIN, END = "<!-- table: make torture -->\n", "<!-- end of table -->\n"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--trials", type=click.IntRange(1), help="Of each promise; default: its own number.")
@click.option("--jobs", type=click.IntRange(1), help="Promises at a time; default: one per core.")
def main(names: tuple[str, ...], seed: int, trials: int | None, jobs: int | None) -> None:
    """Try the promises NAMES (a module or module.function; all by default) again and again.

    A run of all of them writes reports/torture.json and the table in docs/reliability.md.
    """
    chosen = [name for name in PROMISES if not names or _is_named(name, names)]
    if unknown := [name for name in names if not any(_is_named(one, (name,)) for one in PROMISES)]:
        raise click.ClickException(
            f"{unknown[0]}: no such promise; there are {', '.join(PROMISES)}"
        )
    outcomes = _try_all(chosen, seed, trials, jobs or os.cpu_count() or 1)
    if not names and trials is None:
        _save(outcomes, seed)
    click.echo(table(outcomes))
    for outcome in outcomes:
        for broken in outcome.broken:
            click.echo(f"BROKEN {outcome.name}: {broken}", err=True)
    sys.exit(any(outcome.broken for outcome in outcomes))


def _is_named(promise: str, names: Sequence[str]) -> bool:
    return promise in names or promise.partition(".")[0] in names


def _try_all(names: Sequence[str], seed: int, trials: int | None, jobs: int) -> list[Outcome]:
    """In as many processes as jobs, each of one thread; in the table's order."""
    os.environ["OMP_NUM_THREADS"] = "1"
    done: dict[str, Outcome] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(try_named, name, seed, trials): name for name in names}
        for future in as_completed(waiting):
            outcome = done[waiting[future]] = future.result()
            said = f"{outcome.held} of {outcome.tried} held in {outcome.seconds:.0f} s"
            click.echo(f"{outcome.name}: {said}", err=True)
    return [done[name] for name in names]


def _save(outcomes: Sequence[Outcome], seed: int) -> None:
    import torch

    machine = describe(torch.device("cpu"))
    save_json(RESULTS, {"seed": seed, "machine": machine, "outcomes": as_json(outcomes)})
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    with atomic_write(DOCUMENT) as file:
        file.write(f"{before}{BEGIN}{table(outcomes)}\n{END}{after}")


if __name__ == "__main__":
    main()
