"""One self-contained HTML page from the files under reports/.

    sources.py    what there is: JSON, CSV and figures, read and checked
    embedded.py   what the page's scripts compute with: layers, weights, test images
    verdicts.py   sentences made from the numbers
    *.html.j2     what stands on the page: one template per section
    style.css     how it looks; interactive.css: the sections that compute
    script/*.js   what happens on it: plain scripts that share one scope

Two runs side by side, by `python -m cnnpipe.report compare`:

    revisions.py  what a commit or an experiment left
    comparison.py what differs, in numbers and in figures on identical scales; comparison.html.j2,
                  comparison.css and script/slider.js show it

Everything is inlined: the page opens from a disk without a network. It holds no time of its making,
so that the same files give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnnpipe.formatting import count, duration, percent, points, short
from cnnpipe.report.embedded import Embedded, read_embedded
from cnnpipe.report.sources import Sources, read_sources
from cnnpipe.report.verdicts import averaged_over, filter_verdicts, measured, reason, verdicts

__all__ = ["Embedded", "Sources", "environment", "read_embedded", "read_sources", "render"]


def render(sources: Sources, embedded: Embedded | None = None) -> str:
    """The page as HTML. All that comes from outside is escaped.

    Args:
        sources: what the pipeline left under reports/.
        embedded: what its scripts compute with; without it, their sections say what is missing.
    """
    page = environment().get_template("page.html.j2")
    return page.render(sources=sources, verdicts=verdicts(sources), embedded=embedded or Embedded())


def environment() -> Environment:
    """Templates, their filters, and escaping of all that they are given."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "averaged_over": averaged_over,
        "count": count,
        "duration": duration,
        "filter_verdicts": filter_verdicts,
        "measured": measured,
        "percent": percent,
        "points": points,
        "reason": reason,
        "short": short,
        "thousands": lambda number: f"{number:,}",
    }
    return templates
