"""Prove the operators against torch and SciPy: reports/verify.json and reports/verify.md."""

from typing import get_args

import click

from cnnpipe.params.loading import load_params
from cnnpipe.params.models import AlgorithmParams
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.section import Seed, Selection
from cnnpipe.params.train import Algorithm
from cnnpipe.params.verify import VerifyParams
from cnnpipe.system.artifacts import atomic_write, save_json
from cnnpipe.system.command import REPORTS, stage
from cnnpipe.system.hardware import choose_device
from cnnpipe.verify.transforms import TRANSFORMS
from cnnpipe.verify.verification import (
    CPU,
    require_pass,
    summarize,
    summary_table,
    to_markdown,
    verify_side_by_side,
)


class Settings(Selection):
    seed: Seed
    verify: VerifyParams
    models: dict[str, AlgorithmParams]
    runtime: RuntimeParams


@stage
def main() -> None:
    params = load_params(Settings)
    # `implicit_gemm` has to be compiled for each shape, so it is verified only where it is used.
    unused = {"implicit_gemm"} - {model.algorithm for model in params.models.values()}
    algorithms = [name for name in get_args(Algorithm) if name not in unused]
    devices = list(dict.fromkeys([CPU, choose_device(params.runtime.device)]))
    comparisons = verify_side_by_side(
        params.verify, params.seed, algorithms=algorithms, devices=devices, transforms=TRANSFORMS
    )
    report = summarize(comparisons, params.seed)

    # The evidence is written before a failure stops the pipeline.
    save_json(REPORTS / "verify.json", report)
    with atomic_write(REPORTS / "verify.md") as file:
        file.write(to_markdown(report))
    click.echo(summary_table(report))
    require_pass(report)
    click.echo(f"verify: {report['cases']} cases, {report['comparisons']} comparisons, all pass")


if __name__ == "__main__":
    main()
