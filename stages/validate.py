"""Check params.yaml before any other stage runs, and write its JSON schema for editors.

DVC removes a stage's old results before it runs the stage. This stage runs first and is quick, so
a bad parameter, or one that this machine cannot follow, stops the pipeline while all results are
still there. Results of another data set are removed.

It also writes what other stages depend on and DVC cannot read from params.yaml: the kind of device
that `auto` is on this machine, the algorithm of each model's convolutions, and all parameters that
can change a result.
"""

from pathlib import Path

import click

from cnnpipe.params.loading import load_params
from cnnpipe.params.models import MODEL_NAMES
from cnnpipe.system.artifacts import save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.validate.other_data import remove_results_of_other_data
from cnnpipe.validate.schema import Params, json_schema

SCHEMA = Path("params.schema.json")


@stage
def main() -> None:
    params = load_params(Params)
    # These import torch, which takes longer than to refuse a bad parameter.
    from cnnpipe.system.hardware import choose_device
    from cnnpipe.train.trial import check_training

    device = choose_device(params.runtime.device)
    for name in MODEL_NAMES:
        check_training(name, params.models, device, params.runtime.processes)
    facts = {
        "passed": True,
        "device": device.type,
        "algorithms": {name: params.models.of(name).algorithm for name in MODEL_NAMES},
        "params": params.model_dump(exclude={"runtime"}),
    }
    for key, fact in facts.items():
        save_json(REPORTS / "validate" / f"{key}.json", fact)
    save_json(SCHEMA, json_schema())
    click.echo("params.yaml is valid")
    if removed := remove_results_of_other_data(params.data):
        click.echo(f"removed {len(removed)} results of another data set than {params.data.name}")


if __name__ == "__main__":
    main()
