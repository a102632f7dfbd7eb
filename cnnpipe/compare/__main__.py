"""`python -m cnnpipe.compare REV_A REV_B`: two runs on one page that needs no network."""

from pathlib import Path

import click

from cnnpipe.networks import MODEL_NAMES
from cnnpipe.system.artifacts import atomic_write
from cnnpipe.system.errors import InputError
from cnnpipe.system.surroundings import be_independent
from cnnpipe.system.threads import collect_garbage_rarely


@click.command(name="python -m cnnpipe.compare")
@click.argument("rev_a")
@click.argument("rev_b")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("reports/compare.html"),
    show_default=True,
    help="The page to write.",
)
def main(rev_a: str, rev_b: str, out: Path) -> None:
    """Compare two revisions: commits, branches, tags, DVC experiments, or `workspace`."""
    # Imported here, as DVC and matplotlib take longer to import than --help takes to answer.
    from cnnpipe.compare.differences import compare
    from cnnpipe.compare.revisions import read_revision
    from cnnpipe.report.page import environment

    try:
        comparison = compare(*(read_revision(Path(), name, MODEL_NAMES) for name in (rev_a, rev_b)))
        template = environment(Path(__file__).parent).get_template("comparison.html.j2")
        page = template.render(comparison=comparison)
        with atomic_write(out) as file:
            file.write(page)
    except (InputError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for model in comparison.models:
        click.echo(f"{model.title}: {model.rows[0][3]}. {model.verdict.text}")
    click.echo(f"{out}: {len(page.encode()) / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    collect_garbage_rarely()
    be_independent()
    main()
