"""Try all promises, or those that are named: `python -m torture [NAME ...]`.

A run of all, from the default seed, writes reports/torture.json; later runs of some promises
replace their rows. `make docs` brings them into docs/reliability.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import click
import torch

from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import describe
from cnnpipe.system.processes import begin_worker
from torture.campaign import Outcome, table
from torture.promises import PROMISES, try_named

RESULTS = Path("reports/torture.json")
SEED = 0


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seed", default=SEED, show_default=True, type=click.IntRange(0))
@click.option("--trials", type=click.IntRange(1), help="Of each promise; default: its own number.")
@click.option("--jobs", type=click.IntRange(1), help="Promises at a time; default: one per core.")
def main(names: tuple[str, ...], seed: int, trials: int | None, jobs: int | None) -> None:
    """Try the promises NAMES (a module or module.function; all by default) again and again."""
    chosen = [name for name in PROMISES if not names or _is_named(name, names)]
    if unknown := [name for name in names if not any(_is_named(one, (name,)) for one in PROMISES)]:
        raise click.ClickException(
            f"{unknown[0]}: no such promise; there are {', '.join(PROMISES)}"
        )
    outcomes = _try_all(chosen, seed, trials, jobs or os.cpu_count() or 1)
    click.echo(table(outcomes))
    if trials is None and seed == SEED:
        try:
            _save(outcomes)
        except (InputError, OSError, KeyError, TypeError) as error:
            raise click.ClickException(f"not saved in {RESULTS}: {error}") from error
    sys.exit(any(outcome.broken for outcome in outcomes))


def _is_named(promise: str, names: Sequence[str]) -> bool:
    return promise in names or promise.partition(".")[0] in names


def _try_all(names: Sequence[str], seed: int, trials: int | None, jobs: int) -> list[Outcome]:
    """In as many processes as jobs, each of one thread; in the table's order."""
    os.environ["OMP_NUM_THREADS"] = "1"
    done: dict[str, Outcome] = {}
    spawn = get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, begin_worker, (os.getpid(),)) as pool:
        waiting = {pool.submit(try_named, name, seed, trials): name for name in names}
        for future in as_completed(waiting):
            outcome = done[waiting[future]] = future.result()
            said = f"{outcome.held} of {outcome.tried} held in {outcome.seconds:.0f} s"
            click.echo(f"{outcome.name}: {said}", err=True)
            for broken in outcome.broken:
                click.echo(f"BROKEN {outcome.name}: {broken}", err=True)
    return [done[name] for name in names]


def _save(outcomes: Sequence[Outcome]) -> None:
    """Write all outcomes, or some of them in the place of earlier ones from the same machine."""
    machine = describe(torch.device("cpu"))
    known: dict[str, Outcome] = {}
    if RESULTS.exists():
        before = load_json(RESULTS)
        if before["machine"] == machine:
            known = {row["name"]: Outcome(**row) for row in before["outcomes"]}
    known |= {outcome.name: outcome for outcome in outcomes}
    if missing := PROMISES.keys() - known.keys():
        click.echo(
            f"{RESULTS} stays as it is: {len(missing)} promises are not tried here", err=True
        )
        return
    rows = [asdict(known[name]) for name in PROMISES]
    save_json(RESULTS, {"seed": SEED, "machine": machine, "outcomes": rows})


if __name__ == "__main__":
    main()
