"""Fetch the data set into data/raw and check its content; CNNPIPE_MIRROR is asked first."""

import os

import click

from cnnpipe.download.files import download
from cnnpipe.download.mirrors import SourcesUnreachable
from cnnpipe.params.data import SourceParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Selection
from cnnpipe.system.artifacts import atomic_write, project_root
from cnnpipe.system.command import RAW, UNREACHABLE, stage


class Settings(Selection):
    data: SourceParams


@stage
def main() -> None:
    params = load_params(Settings)
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
