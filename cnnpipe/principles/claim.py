"""A claim of the theory: its words, its figure, and how its experiment reports what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure

from cnnpipe.findings.estimates import Estimate
from cnnpipe.findings.evidence import Evidence
from cnnpipe.findings.finding import Finding
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.study import Study


@dataclass(frozen=True)
class Claim:
    """What is the same whatever the experiment finds."""

    name: str
    """Of its module, its figure, its section of params.yaml and its tables."""
    sentence: str
    question: str
    """What the figure answers."""
    limits: str
    """What the experiment does not show."""
    draw: Callable[[Tables, Details], Figure]
    """The figure, from a finding's tables and details."""

    def finding(
        self,
        evidence: Evidence | bool,
        statement: str,
        number: float | Estimate,
        *,
        unit: str,
        uncertainty: str,
        data: str,
        tables: Tables,
        details: Details,
    ) -> Finding:
        """What was found about the claim; `Finding` explains the arguments.

        Args:
            evidence: of runs; or, for what was tried in all cases, whether it held in each.
        """
        if isinstance(evidence, Evidence):
            tested, verdict = evidence, evidence.verdict()
        else:
            tested, verdict = None, "verified" if evidence else "shown not to hold"
        return Finding(
            name=self.name,
            claim=self.sentence,
            evidence=tested,
            verdict=verdict,
            statement=statement,
            number=number.mean if isinstance(number, Estimate) else number,
            unit=unit,
            interval=number.interval if isinstance(number, Estimate) else None,
            uncertainty=uncertainty,
            tables=tables,
            details=details,
            question=self.question,
            data=data,
            limits=self.limits,
        )


class Experiment(Protocol):
    """What the module of a claim offers."""

    CLAIM: Claim

    def measure(self, study: Study) -> Finding: ...
