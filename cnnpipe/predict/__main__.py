"""`python -m cnnpipe.predict PICTURE…`: read digits in pictures of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cnnpipe.networks import MODEL_NAMES
from cnnpipe.system.command import MODELS, RAW
from cnnpipe.system.errors import InputError
from cnnpipe.system.surroundings import be_independent
from cnnpipe.system.threads import collect_garbage_rarely


@click.command(name="python -m cnnpipe.predict")
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    type=click.Choice(MODEL_NAMES),
    multiple=True,
    help="Network to ask, once for each; by default all that are trained.",
)
@click.option(
    "--explain",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw what was seen of one picture, and why it was answered so, as PNG.",
)
def main(pictures: tuple[Path, ...], models: tuple[str, ...], explain: Path | None) -> None:
    """Read the digits in pictures: photos, scans, drawings, screen captures.

    A picture that cannot be read is named, and the others are read all the same.
    """
    # Imported here, as torch takes longer to import than --help takes to answer.
    from cnnpipe.predict.reading import Reader

    if explain and (len(pictures) > 1 or explain.suffix.lower() != ".png"):
        raise click.UsageError("--explain draws one picture, into a file that ends in .png")
    try:
        reader = Reader.load([MODELS / f"{name}.safetensors" for name in models])
    except (InputError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if not RAW.is_dir():
        click.echo(f"{RAW}: missing, so no picture is called unlike the training images", err=True)
    refused = False
    for path in pictures:
        try:
            seen = reader.see(path)
        except (InputError, OSError) as error:
            click.echo(f"Error: {error}", err=True)
            refused = True
            continue
        readings = reader.read(seen.digits)
        for number, reading in enumerate(readings, start=1):
            which = f", {number} of {len(readings)}" if len(readings) > 1 else ""
            click.echo(f"{path}{which}: {reading}")
        if explain:
            from cnnpipe.drawing.layout import save_png
            from cnnpipe.predict.figure import draw

            try:
                save_png(explain, draw(seen, readings, reader.networks, path.name))
            except OSError as error:
                raise click.ClickException(str(error)) from error
            click.echo(f"{explain}: what was seen")
    sys.exit(refused)


if __name__ == "__main__":
    collect_garbage_rarely()
    be_independent()
    main()
