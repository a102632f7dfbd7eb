"""Write the numbers in README.md, CONTRIBUTING.md and docs/ from the results: `make docs`.

A page marks each place with `<!-- results: NAME ARGUMENT … -->old text<!-- end -->`, within a line
or on lines of their own around a table. NAME is a function of `TEXTS`, which gives the new text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from cnnpipe.findings import ladder
from cnnpipe.findings.wording import count, duration, percent, plus_minus, short, title_of
from cnnpipe.race.contestants import table as race_table
from cnnpipe.system.artifacts import atomic_write, load_json
from cnnpipe.system.command import REPORTS, stage

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(r"(<!-- results: (.+?) -->)(\n?).*?(<!-- end -->)", re.DOTALL)
CONTESTANTS = ("scratch", "torch", "torch, channels last")
TIMES = ["cnnpipe, ms", "torch, ms", "torch channels last, ms", "cnnpipe / torch"]
ALGORITHMS = ("im2col", "winograd", "fft", "compiled")


def filled(page: str) -> str:
    """The text of a page with the present results between its markers."""

    def fill(found: re.Match[str]) -> str:
        begin, call, newline, end = found.groups()
        name, *arguments = call.split()
        text = re.sub(r"(?<=\d)%", " %", TEXTS[name](*arguments))
        return f"{begin}{newline}{text}{newline}{end}"

    return MARKED.sub(fill, page)


def load(name: str) -> Any:
    return load_json(ROOT / REPORTS / name)


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def by_model(column: Callable[[str], dict[str, object]], file: str) -> Callable[[], str]:
    """A table with one column for each model of a file, from the named cells of a column."""

    def text() -> str:
        names = list(load(file))
        columns = [column(name) for name in names]
        rows = ([row, *(cells[row] for cells in columns)] for row in columns[0])
        return table(["", *map(title_of, names)], rows)

    return text


def machine(file: str) -> str:
    """Hardware and versions of the run behind a file of results."""
    results = load(file)
    run = results["machine"] if "machine" in results else results["lenet5"]
    run = run["runs"][0] if "runs" in run else run
    where = f"{run['processor']}, {count(run['threads'], 'thread')}"
    return f"{where}, torch {run['torch'].partition('+')[0]}, Python {run['python']}"


def scores(model: str) -> dict[str, object]:
    judged, timing = load(f"evaluation/{model}.json"), load("timings.json")[model]
    return {
        f"accuracy on {judged['images']:,} test images": f"**{judged['test_accuracy']:.2%}**",
        "95 % interval (Wilson)": "{:.2%} to {:.2%}".format(*judged["test_accuracy_interval"]),
        "errors": judged["test_errors"],
        "parameters": f"{judged['parameters']:,}",
        "multiply-accumulates per image": f"{judged['macs']:,}",
        "training time": duration(timing["train_seconds"]),
    }


def record(model: str) -> str:
    """Mean and standard deviation of a model's accuracy over seeds."""
    result = load("records.json")[model]
    return plus_minus(result["mean_test_accuracy"], result["sd_test_accuracy"], "{:.3%}".format)


def records(model: str) -> dict[str, object]:
    runs, vote = (load("records.json")[model][key] for key in ("runs", "vote"))
    seconds = [run["train_seconds"] for run in runs]
    return {
        "epochs": runs[0]["epochs"],
        "seeds": len(runs),
        "**test accuracy, mean ± sd**": f"**{record(model)}**",
        "errors of each seed": ", ".join(str(run["test_errors"]) for run in runs),
        "vote of all seeds": f"{vote['test_accuracy']:.2%}, {vote['test_errors']} errors",
        "training time, one seed": f"{duration(min(seconds))} to {duration(max(seconds))}",
    }


def memory(model: str) -> dict[str, object]:
    run = next(run for run in load("benchmark.json")["memory"] if run["model"] == model)
    own, torch, last = (f"{run['bytes'][one] / 2**20:.1f} MiB" for one in CONTESTANTS)
    ratio = f"{run['ratio']:.2f}"
    return {"cnnpipe": own, "torch": torch, "torch channels last": last, "cnnpipe / torch": ratio}


def claims() -> str:
    """The claims with every run's budget."""
    found = load("principles.json") | {"handcrafted": load("handcrafted.json")}
    rows = (
        [f"`{name}`", f"**{one['verdict']}**", estimate(one), one["unit"]]
        for name, one in found.items()
    )
    return table(["claim", "verdict", "number (95 % interval)", "unit"], rows)


def replications() -> str:
    """The claims with the full budget from several base seeds, if they were measured."""
    if not (ROOT / REPORTS / "claims.json").exists():
        return "Not measured yet: `make claims` writes reports/claims.json."
    results = load("claims.json")
    rows = []
    for name, row in results["replication"].items():
        found = [seed[name] for seed in results["seeds"].values()]
        verdicts = Counter(row["verdicts"]).most_common()
        counted = [
            f"{row[key]} of {row['pairs']}" if row["pairs"] else "–"
            for key in ("covered", "replicated")
        ]
        cells = [", ".join(f"**{verdict}** {number}×" for verdict, number in verdicts)]
        cells += [estimate(found[0]), ", ".join(short(one["number"]) for one in found[1:])]
        rows.append([f"`{name}`", *cells, *counted])
    header = ["claim", "verdicts", "first seed (95 % interval)", "others", "covered", "replicated"]
    measured = f"Measured on {results['date']} with {title_of(results['dataset'])}"
    compared = results["replication"].values()
    covered, replicated, pairs = (
        sum(row[key] for row in compared) for key in ("covered", "replicated", "pairs")
    )
    flips = sum(row["flips"] for row in compared)
    said = (
        f"Between the seeds {count(flips, 'verdict')} flipped from shown to shown not to hold. The "
        f"intervals cover {percent(covered / pairs)} of the other seeds' numbers, and those for "
        f"another seed {percent(replicated / pairs)}."
    )
    return f"{measured} on {machine('claims.json')}.\n\n{table(header, rows)}\n\n{said}"


def estimate(finding: Mapping[str, Any]) -> str:
    """A finding's number, with its interval if it has one."""
    number = short(finding["number"])
    if finding["interval"]:
        number += " ({} to {})".format(*map(short, finding["interval"]))
    return number


def verified(key: str) -> str:
    value = load("verify.json")[key]
    return f"{value:,}" if isinstance(value, int) else str(value)


def race() -> str:
    return race_table(load("race.json")["entries"])


def speed_up(contestant: str) -> str:
    """How many times sooner than the tutorial's loop a contestant reaches 99 %."""
    entries = [entry for entry in load("race.json")["entries"] if entry["target"] == 0.99]
    seconds = {entry["contestant"]: entry["summary"]["seconds"]["mean"] for entry in entries}
    return f"{seconds['tutorial'] / seconds[contestant]:.1f}"


def ratio(run: dict[str, Any], one: str = "scratch") -> str:
    return f"{run['ratios'][f'{one} / torch']['median']:.2f}"


def runs(kind: str, phase: str = "training") -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The runs of a part of the benchmark, each with its median times."""
    found = [run for run in load("benchmark.json")[kind] if run["phase"] == phase]
    return [
        (run, {one: short(time["median"]) for one, time in run["milliseconds"].items()})
        for run in found
    ]


def step(model: str) -> str:
    """The time of a training step in units of torch's, at the default batch size."""
    size = load("benchmark.json")["batch_size"]
    found = {(run["model"], run["batch_size"]): run for run, _ in runs("models")}
    return ratio(found[model, size])


def steps(phase: str) -> str:
    rows = [
        [title_of(run["model"]), f"{run['batch_size']:,}", *times.values(), ratio(run)]
        for run, times in runs("models", phase)
    ]
    return table(["model", "batch", *TIMES], rows)


def operators() -> str:
    rows = [
        [run["operator"], run["shape"], *times.values(), ratio(run)]
        for run, times in runs("operators")
    ]
    return table(["operator", "maps", *TIMES], rows)


def layers() -> str:
    rows = []
    for run, times in runs("layers"):
        best = run["best"]
        times[best] = f"**{times[best]}**"
        cells = [times.get(one, "–") for one in (*CONTESTANTS[1:], *ALGORITHMS)]
        layer = f"{run['layer']}: {run['shape']}"
        rows.append([layer, *cells, run["auto"], ratio(run, run["auto"])])
    header = ["layer", *TIMES[1:3], *ALGORITHMS, "`auto` takes", "`auto` / torch"]
    return table(header, rows)


def rungs() -> str:
    speeds = ["forward, GFLOP/s", "of the peak", "training, GFLOP/s", "of the peak"]
    header = ["rung", "algorithm", *speeds, "what changes"]
    return table(header, ladder.cells(load("benchmark.json")["layers"]))


def gpu(section: str) -> str:
    """A section of the run on a GPU, if there was one."""
    if not (ROOT / REPORTS / "gpu.json").exists():
        return "Not measured: no GPU was at hand."
    results = load("gpu.json")
    found = results[section]
    if isinstance(found, str):
        return f"{found[0].upper()}{found[1:]}."
    return GPU[section](found)


def gpu_steps(rows: Sequence[dict[str, Any]]) -> str:
    """Milliseconds, and of each kind of launch the ratio to torch's."""
    ways = [f"{one}, {how}" for how in ("eager", "graph") for one in ("scratch", "torch")]
    lines = []
    for row in rows:
        ms = {way: row["ms"][way]["median"] for way in row["ms"]}
        ratios = [ms[f"scratch, {how}"] / ms[f"torch, {how}"] for how in ("eager", "graph")]
        cells = [*(short(ms[way]) for way in ways), *(f"{ratio:.2f}" for ratio in ratios)]
        lines.append([title_of(row["model"]), row["batch"], row["precision"], *cells])
    header = ["model", "batch", "precision", *ways, "ratio, eager", "ratio, graph"]
    return table(header, lines)


def gpu_facts(facts: dict[str, Any]) -> str:
    """Names and values, of which some have names of their own."""
    rows = []
    for name, value in facts.items():
        values = value if isinstance(value, dict) else {"": value}
        rows += [[f"{name} {key}".strip(), each] for key, each in values.items()]
    return table(["", ""], rows)


def gpu_races(rows: Sequence[dict[str, Any]]) -> str:
    lines = [[f"{row['target']:.1%}", row["contestant"], row["seconds"] or "–"] for row in rows]
    return table(["target", "contestant", "seconds"], lines)


GPU: dict[str, Callable[[Any], str]] = {
    "machine": gpu_facts,
    "verification": itemgetter("table"),
    "training": gpu_facts,
    "steps": gpu_steps,
    "agreement": gpu_facts,
    "same_bits": gpu_facts,
    "races": gpu_races,
}


def torture() -> str:
    rows = [
        [one["promise"], f"{one['tried']:,}", f"{one['held']:,}", f"{one['seconds']:,.0f}"]
        for one in load("torture.json")["outcomes"]
    ]
    return table(["promise", "tried", "held", "seconds"], rows)


def contracts() -> str:
    """The rules for imports, word for word as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return f"```toml\n{text[text.index('[[tool.importlinter.contracts]]') :].rstrip()}\n```"


TEXTS: dict[str, Callable[..., str]] = {
    "claims": claims,
    "contracts": contracts,
    "gpu": gpu,
    "layers": layers,
    "machine": machine,
    "memory": by_model(memory, "metrics.json"),
    "operators": operators,
    "race": race,
    "record": record,
    "replications": replications,
    "records": by_model(records, "records.json"),
    "rungs": rungs,
    "scores": by_model(scores, "metrics.json"),
    "speed_up": speed_up,
    "step": step,
    "steps": steps,
    "torture": torture,
    "verified": verified,
}


@stage
def main() -> None:
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        if (after := filled(before)) != before:
            with atomic_write(path) as file:
                file.write(after)
            click.echo(f"{path.relative_to(ROOT)}: new results")


if __name__ == "__main__":
    main()
