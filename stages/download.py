"""Fetch the data set into data/raw and check its content; CNNPIPE_MIRROR is asked first."""

import os

import click

from cnnpipe.artifacts import atomic_write, project_root
from cnnpipe.data.download import download
from cnnpipe.data.mirrors import SourcesUnreachable
from cnnpipe.params import load_params
from stages.command import RAW, UNREACHABLE, stage


@stage
def main() -> None:
    params = load_params()
    marker = project_root() / UNREACHABLE
    marker.unlink(missing_ok=True)
    try:
        download(params.data, RAW, mirror=os.environ.get("CNNPIPE_MIRROR"))
    except SourcesUnreachable as error:
        # DVC passes on no more than "the stage failed"; scripts/repro.py must know why.
        with atomic_write(marker) as file:
            file.write(f"{error}\n")
        raise
    click.echo(f"{params.data.name}: content checked, in {RAW}")


if __name__ == "__main__":
    main()
