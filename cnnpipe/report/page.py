"""The page: templates, filled from what the pipeline left."""

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnnpipe.findings.wording import count, duration, percent, points, short
from cnnpipe.report.architecture import description, fully_connected, layer_rows
from cnnpipe.report.browser_data import Embedded
from cnnpipe.report.code import quoted
from cnnpipe.report.glossary import GLOSSARY, address, explained
from cnnpipe.report.illustrations import curves, examples, tint
from cnnpipe.report.inputs import Sources, flattened
from cnnpipe.report.sentences import (
    averaged_over,
    commonest_confusions,
    filter_verdicts,
    in_brief,
    loss_comparison,
    measured,
    modesty,
    reason,
    replicated,
    verdicts,
)


def render(sources: Sources, embedded: Embedded | None = None) -> str:
    """The page as HTML. All that comes from outside is escaped.

    Args:
        sources: what the pipeline left under reports/.
        embedded: what its scripts compute with; without it, their sections say what is missing.
    """
    page = environment().get_template("page.html.j2")
    return page.render(
        sources=sources,
        brief=in_brief(sources),
        verdicts=verdicts(sources),
        loss_comparison=partial(loss_comparison, sources),
        modesty=partial(modesty, sources),
        examples=examples(),
        glossary=GLOSSARY,
        activation_curves=curves(),
        embedded=embedded or Embedded(),
    )


def environment(*folders: Path) -> Environment:
    """Templates, their filters and macros (`m`), and escaping of all that they are given.

    Args:
        folders: of further templates.
    """
    own = Path(__file__).parent
    templates = Environment(
        loader=FileSystemLoader([own / "templates", own / "styles", own / "scripts", *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "address": address,
        "averaged_over": averaged_over,
        "commonest_confusions": commonest_confusions,
        "count": count,
        "description": description,
        "duration": duration,
        "explained": explained,
        "filter_verdicts": filter_verdicts,
        "flattened": flattened,
        "fully_connected": fully_connected,
        "layer_rows": layer_rows,
        "measured": measured,
        "percent": percent,
        "points": points,
        "quoted": quoted,
        "reason": reason,
        "replicated": replicated,
        "short": short,
        "tint": tint,
        "thousands": lambda number: f"{number:,}",
    }
    templates.globals["m"] = templates.get_template("macros.html.j2").module
    return templates
