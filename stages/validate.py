"""Check params.yaml before any other stage runs, and write its JSON schema for editors.

A data set of one's own is checked, too. DVC removes a stage's old results before it runs the stage.
This stage runs first and is quick, so a bad parameter or picture, or what this machine cannot
train, stops the pipeline while all results are still there. Results of another data set are
removed.

It also writes what other stages depend on and DVC cannot read from params.yaml: the kind of device
that `auto` is on this machine, the algorithms of the convolutions, which models there are and what
they are built with, the content of a data set of one's own, and all parameters that can change a
result.
"""

from pathlib import Path

import click

from cnnpipe.download.folder import read_folder
from cnnpipe.params.loading import load_params
from cnnpipe.system.artifacts import save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.validate.other_data import remove_results_of_other_data
from cnnpipe.validate.schema import Params, json_schema

SCHEMA = Path("params.schema.json")


@stage
def main() -> None:
    params = load_params(Params)
    own = None
    if params.data.name == "folder":
        own = read_folder(Path(params.data.path), params.data.test)
        click.echo(own.summary)
        for run in params.models.values():
            own.check_batch_size(run.batch_size, params.data.validation)
    # These import torch, which takes longer than to refuse a bad parameter.
    from cnnpipe.system.hardware import choose_device
    from cnnpipe.train.trial import check_training

    device = choose_device(params.runtime.device)
    for name, run in params.models.items():
        check_training(name, run, device, params.runtime.processes)
    facts = {
        "passed": True,
        "device": device.type,
        "algorithms": sorted({model.algorithm for model in params.models.values()}),
        "architectures": {name: model.architecture() for name, model in params.models.items()},
        "folder": own and own.identity(),
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
