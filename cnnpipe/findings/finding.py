"""What an experiment on a claim of the theory gives: a number, its uncertainty, a verdict."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from cnnpipe.findings.evidence import Evidence, Verdict, holm
from cnnpipe.findings.intervals import Interval


@dataclass(frozen=True)
class Finding:
    """The outcome of one experiment, complete enough for the report to quote it.

    Raises:
        ValueError: the number or an end of the interval is not finite, or the interval is reversed.
    """

    name: str
    """That of the module that measured it, of its figure and of its tables."""
    claim: str
    """The sentence of the theory."""
    evidence: Evidence | None
    """For the claim; None for an identity, which was tried out and not tested."""
    verdict: Verdict
    statement: str
    """What was found, as a sentence or two, made from the numbers. It is also the figure's alt
    text."""
    number: float
    """The one figure that decides."""
    unit: str
    """What `number` counts, as words that follow it."""
    interval: Interval | None
    """95 %; None for what is exact."""
    uncertainty: str
    """What the interval is over, or why there is none: "8 runs", "exact: all 1,234 shapes"."""
    tables: Mapping[str, pd.DataFrame]
    """What the figure is drawn from, by a short name; each becomes a CSV. The report shows the
    first one whole, so it is the short one that a reader wants."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further numbers that the statement or the figure quotes: what JSON can hold."""
    question: str = ""
    """What the figure answers, as its caption asks it."""
    data: str = ""
    """What it was measured on, and how much of it: data set, images, seeds, steps."""
    limits: str = ""
    """What the experiment does not show."""

    def __post_init__(self) -> None:
        low, high = self.interval or (self.number, self.number)
        if not all(map(math.isfinite, (self.number, low, high))) or low > high:
            raise ValueError(
                f"{self.name}: got number {self.number} in {self.interval}; expected finite "
                "numbers, the interval's lower end first"
            )

    def summary(self) -> dict[str, Any]:
        """The entry of reports/principles.json; paths are relative to reports/."""
        return {
            "claim": self.claim,
            "verdict": self.verdict,
            "p_value": self.evidence.p_value if self.evidence else None,
            "statement": self.statement,
            "number": self.number,
            "unit": self.unit,
            "interval": list(self.interval) if self.interval else None,
            "uncertainty": self.uncertainty,
            "question": self.question,
            "data": self.data,
            "limits": self.limits,
            "figure": self.figure_path,
            "tables": {table: self.table_path(table) for table in self.tables},
            "details": dict(self.details),
        }

    def metrics(self) -> dict[str, Any]:
        """What `dvc metrics diff` compares between experiments."""
        low, high = self.interval or (self.number, self.number)
        return {"verdict": self.verdict, "number": self.number, "low": low, "high": high}

    @property
    def figure_path(self) -> str:
        """Where its figure is, relative to reports/."""
        return f"figures/principles/{self.name}.png"

    def table_path(self, table: str) -> str:
        """Where a table becomes a CSV, relative to reports/."""
        return f"principles/{self.name}_{table}.csv"


def adjusted(findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """The findings with verdicts that allow for how many claims were tested, by Holm's steps."""
    tested = {name: one.evidence for name, one in findings.items() if one.evidence}
    p_values = holm({name: evidence.p_value for name, evidence in tested.items()})
    return dict(findings) | {
        name: replace(findings[name], verdict=evidence.verdict(p_values[name]))
        for name, evidence in tested.items()
    }
