"""Race to an accuracy: reports/race.json. docs/race.md has the rules.

Each finished run is written at once: after an interruption the same command continues.
"""

import os
from typing import Any

import stages  # noqa: F401  # first: it sets how OpenMP's threads wait, which torch reads on import

# isort: split
import click
import torchvision

from cnnpipe.data.dataset import Split, load_dataset, split_validation
from cnnpipe.params.loading import load_params
from cnnpipe.race.contestants import (
    BACKENDS,
    CONTESTANTS,
    entries,
    recipe_settings,
    run_recipe,
    run_tutorial,
    summarize,
    table,
    with_runs,
)
from cnnpipe.system.artifacts import load_json, save_json
from cnnpipe.system.command import RAW, REPORTS, stage
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_device, describe
from cnnpipe.validate.schema import Params

RESULTS = REPORTS / "race.json"
HELD_OUT = 1 / 6
"""Of the training images, where recipes are chosen."""


@stage
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(CONTESTANTS),
    help="Only this contestant; may be given more than once.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Repeat finished runs; with --only, those of these contestants.",
)
@click.option(
    "--held-out",
    is_flag=True,
    help="Judge on a sixth of the training images instead of the test set, to choose a recipe; "
    "prints the table and saves nothing.",
)
def main(only: tuple[str, ...], fresh: bool, held_out: bool) -> None:
    params = load_params(Params)
    dataset = load_dataset(RAW)
    if len(dataset.classes) != 10:
        raise InputError(
            f"{RAW}: a data set of {len(dataset.classes)} classes; the race is for ten, as the "
            "tutorial's network has"
        )
    device = choose_device(params.runtime.device)
    waiting = {name.lower(): os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    machine = describe(device) | {"torchvision": torchvision.__version__} | waiting
    planned = entries(params.race)
    seeds = range(1, params.race.seeds + 1)
    start_over = fresh and not only
    if RESULTS.exists() and not start_over and not held_out:
        earlier = load_json(RESULTS)
        before = {key: earlier[key] for key in ("data", "machine")}
        if before != {"data": dataset.name, "machine": machine}:
            raise InputError(
                f"{RESULTS}: other data, another machine or other versions, whose times do not "
                "belong in the same table; --fresh starts over"
            )
        planned = with_runs(planned, earlier["entries"], seeds)
        for entry in planned:
            if fresh and entry["contestant"] in only:
                entry["runs"].clear()

    for seed in seeds:  # the contestants take turns: a machine's speed drifts
        for entry in planned:
            done = seed in [run["seed"] for run in entry["runs"]]
            if done or (only and entry["contestant"] not in only):
                continue
            training, test = dataset.train, dataset.test
            if held_out:
                training, test = split_validation(dataset.train, HELD_OUT, seed)
            run = _race(params, entry, training, test.to(device), seed)
            entry["runs"].append(run)
            last = run["looks"][-1]
            click.echo(
                f"{entry['contestant']} for {entry['target']:.1%}, seed {seed}: "
                f"{last['accuracy']:.2%} after {last['seconds']:.1f} s"
            )
            if not held_out:
                _save(dataset.name, machine, planned)
    click.echo(table(planned))


def _race(
    params: Params, entry: dict[str, Any], training: Split, test: Split, seed: int
) -> dict[str, Any]:
    contestant, target = entry["contestant"], entry["target"]
    if contestant == "tutorial":
        return run_tutorial(target, training, test, seed=seed)
    recipe = next(
        recipe
        for recipe in params.race.recipes
        if (recipe.target, recipe_settings(recipe, contestant)) == (target, entry["settings"])
    )
    training = training.to(test.images.device)
    return run_recipe(recipe, BACKENDS[contestant], training, test, seed=seed)


def _save(data: str, machine: dict[str, Any], raced: list[dict[str, Any]]) -> None:
    save_json(
        RESULTS,
        {
            "data": data,
            "machine": machine,
            "entries": [
                entry | {"summary": summarize(entry["target"], entry["runs"])}
                for entry in raced
                if entry["runs"]
            ],
        },
    )


if __name__ == "__main__":
    main()
