"""Put everything on one page: reports/index.html."""

import click

from cnnpipe.params.loading import load_params
from cnnpipe.report.browser_data import read_embedded
from cnnpipe.report.inputs import read_sources
from cnnpipe.report.page import render
from cnnpipe.system.artifacts import atomic_write
from cnnpipe.system.command import DATA, RAW, REPORTS, stage
from cnnpipe.validate.schema import Params


@stage
def main() -> None:
    params = load_params(Params).model_dump(exclude={"runtime"})
    sources = read_sources(REPORTS, RAW / "dataset.json", params)
    path = REPORTS / "index.html"
    page = render(sources, read_embedded(DATA, sources))
    with atomic_write(path) as file:
        file.write(page)
    click.echo(f"{path}: {len(page.encode()) / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    main()
