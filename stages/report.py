"""Put everything on one page: reports/index.html."""

import click

from cnnpipe.artifacts import atomic_write
from cnnpipe.params import MODEL_NAMES, load_params
from cnnpipe.report import read_embedded, read_sources, render
from stages.command import MODELS, RAW, REPORTS, stage


@stage
def main() -> None:
    params = load_params().model_dump()
    sources = read_sources(REPORTS, RAW / "dataset.json", params, MODEL_NAMES)
    path = REPORTS / "index.html"
    page = render(sources, read_embedded(MODELS, RAW, sources))
    with atomic_write(path) as file:
        file.write(page)
    click.echo(f"{path}: {len(page.encode()) / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    main()
