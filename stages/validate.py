"""Check params.yaml before any other stage runs, and write its JSON schema for editors.

DVC removes a stage's old results before it runs the stage. This stage runs first and is quick, so
a bad parameter stops the pipeline while all results are still there.
"""

from pathlib import Path

import click

from cnnpipe.artifacts import save_json
from cnnpipe.params import json_schema, load_params
from stages.command import stage

SCHEMA = Path("params.schema.json")


@stage
def main() -> None:
    load_params()
    save_json(SCHEMA, json_schema())
    click.echo("params.yaml is valid")


if __name__ == "__main__":
    main()
