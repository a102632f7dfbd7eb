"""Claims are measured with the longest first."""

from dataclasses import dataclass

from cnnpipe.findings.finding import Finding
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.claims import EXPERIMENTS
from cnnpipe.principles.parallel import LONGEST, measure_all
from tests.helpers.tiny_study import TINY


@dataclass
class Experiment:
    name: str

    @property
    def CLAIM(self) -> Claim:
        return Claim(self.name, "A claim.", "Why?", "None.", draw=None)

    def measure(self, study) -> Finding:
        words = {"unit": "", "uncertainty": "exact", "data": "none"}
        return self.CLAIM.finding(True, "So.", 1, **words, tables={}, details={})


def test_the_longest_start_first():
    experiments = [Experiment("short"), *(Experiment(name) for name in reversed(LONGEST))]
    found = [finding.name for finding in measure_all(TINY, experiments, processes=1)]
    assert found == [*LONGEST, "short"]
    assert set(LONGEST) < {experiment.CLAIM.name for experiment in EXPERIMENTS}
