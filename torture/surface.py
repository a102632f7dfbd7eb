"""What foreign content could reach: code that runs text, unpickles, opens shells or connections.

`source` reads the code by ruff's security rules, `running` watches the stages by Python's audit
events, `dependencies` reads the lock file.
"""

from __future__ import annotations

import ast
import json
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.from_scratch import ALLOWED_IN, violations
from torture.campaign import Trial, failed, in_turn, promise
from torture.project import DVC, ROOT, Project, script_of

LOCKS = ROOT / "requirements"
VIOLATIONS = {
    "S102": "exec('x = 1')",
    "S104": "host = '0.0.0.0'",
    "S202": "import tarfile\ntarfile.open('x').extractall()",
    "S301": "import pickle\npickle.loads(b'')",
    "S302": "import marshal\nmarshal.loads(b'')",
    "S307": "eval('1 + 1')",
    "S310": "import urllib.request\nurllib.request.urlopen('file:///etc/passwd')",
    "S314": "import xml.etree.ElementTree as tree\ntree.parse('x')",
    "S501": "import requests\nrequests.get('https://localhost', timeout=1, verify=False)",
    "S506": "import yaml\nyaml.load('a: 1', Loader=yaml.Loader)",
    "S602": "import subprocess\nsubprocess.run('true', shell=True)",
    "S605": "import os\nos.system('true ' + os.environ['HOME'])",
    "S701": "import jinja2\njinja2.Environment()",
}
BORROWED = {
    "torch.load": "import torch\ntorch.load('x')",
    "joblib.load": "import joblib\njoblib.load('x')",
    "pandas.read_pickle": "from pandas import read_pickle\nread_pickle('x')",
    "safetensors.torch.load_file": "from safetensors.torch import load_file\nload_file('x')",
    "http.server": "from http.server import HTTPServer\nHTTPServer(('', 0), None)",
    "socket": "import socket\nsocket.create_server(('', 0))",
}
"""Banned by name in pyproject.toml."""
OPERATORS = """
    conv1d conv2d conv3d conv_transpose2d convolution max_pool2d avg_pool1d relu sigmoid tanh
    batch_norm nn.functional.batch_norm
    nn.Conv2d nn.ConvTranspose2d nn.MaxPool2d nn.AvgPool2d nn.AdaptiveAvgPool2d nn.Unfold nn.Fold
    nn.ReLU nn.Sigmoid nn.Tanh nn.LeakyReLU nn.GELU nn.SiLU
    nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d nn.functional.conv_transpose2d
    nn.functional.max_pool1d nn.functional.max_pool2d nn.functional.max_pool3d
    nn.functional.avg_pool2d nn.functional.lp_pool2d nn.functional.max_unpool2d
    nn.functional.adaptive_avg_pool2d nn.functional.adaptive_max_pool2d nn.functional.unfold
    nn.functional.fold nn.functional.relu nn.functional.relu6 nn.functional.leaky_relu
    nn.functional.elu nn.functional.gelu nn.functional.sigmoid nn.functional.tanh
"""
"""Torch's own, which only the modules of `ALLOWED_IN` may use."""
TORCH = {f"torch.{name}": f"import torch\ntorch.{name}" for name in OPERATORS.split()}
RULES = VIOLATIONS | BORROWED | TORCH
TOPS = ("cnnpipe", "stages", "scripts")


@promise(
    "No module of the package, the stages or the scripts evaluates or unpickles what it read, "
    "opens a shell, skips a certificate, listens, or uses an operator of torch that the allow-list "
    "does not have; each of these is noticed wherever it is put",
    full=1 + 5 * len(RULES),
    few=1 + len(RULES),
)
def source(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    modules = [file for top in TOPS for file in sorted((ROOT / top).rglob("*.py"))]
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in modules}
    borrowed = [
        f"{module}, {name}" for module in texts for name in violations(module, texts[module])
    ]
    yield Trial("all modules as they are", "\n".join(linted(*TOPS) + borrowed))
    bound = [module for module in texts if module.as_posix() not in ALLOWED_IN]
    for rule in islice(in_turn(RULES, randomness), count - 1):
        module = randomness.choice(bound if rule in TORCH else list(texts))
        place, changed = plant(texts[module], RULES[rule], randomness)
        if rule in TORCH:
            found = violations(module, changed)
        else:
            found = linted("--stdin-filename", str(module), "-", text=changed)
        seen = any(rule in line for line in found)
        wrong = "" if seen else f"found {found}"
        yield Trial(f"{rule} planted in {module}, line {place}", wrong)


def linted(*arguments: str, text: str | None = None) -> list[str]:
    """What the project's own rules on security and banned names find."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json"]
    result = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return [
        f"{finding['code']} {finding['message']}"
        for finding in json.loads(result.stdout)
        if finding["code"].startswith(("S", "TID251"))
    ]


def plant(text: str, violation: str, randomness: random.Random) -> tuple[int, str]:
    """Put lines before a statement somewhere in a module, in a function or outside of any."""
    places = [
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Assign, ast.Return, ast.Expr, ast.FunctionDef, ast.ImportFrom))
        and not getattr(node, "decorator_list", [])
    ]
    lines = text.splitlines()
    # A statement behind a colon or semicolon is no place for another line.
    places = [(row, column) for row, column in places if not lines[row - 1][:column].strip()]
    row, column = randomness.choice(places)
    new = [" " * column + line for line in violation.splitlines()]
    return row, "\n".join([*lines[: row - 1], *new, *lines[row - 1 :], ""])


WATCHED = """\
import os
import sys

EVENTS = (
    "socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
    "socket.gethostbyname", "os.system", "subprocess.Popen", "webbrowser.open",
)
FILE = os.open(os.environ["CNNPIPE_EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(event, arguments):
    if event in EVENTS:
        shown = arguments[1:2] if event.startswith("socket.") and len(arguments) > 1 else arguments
        if event == "socket.getaddrinfo":
            shown = arguments[:2]
        os.write(FILE, f"{event} {shown!r}\\n".encode(errors="replace"))


sys.addaudithook(note)
"""
"""sitecustomize.py, which Python imports before anything else, in every process of a stage."""
STAGES = (
    *("validate", "download", "train@lenet5", "train@vgg", "evaluate@lenet5", "evaluate@vgg"),
    *("visualize@vgg", "explain@lenet5", "summarize", "principles", "handcrafted", "report"),
)
PLANTED = {
    "socket.connect": "import socket; socket.socket().connect_ex(('127.0.0.1', 9))",
    "socket.bind": "import socket; socket.socket().bind(('127.0.0.1', 0))",
    "socket.getaddrinfo": "import socket; socket.getaddrinfo('localhost', 80)",
    "subprocess.Popen": "import subprocess; subprocess.run('true', shell=True)",
    "os.system": "import os; os.system('true')",
}


@promise(
    "A stage that runs in one process connects to nothing but the mirrors that are named, looks up "
    "no other host, listens nowhere and starts no shell; each of these is noticed when it is "
    "planted in a stage",
    full=28,
    few=0,
)
def running(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    project = Project.create(folder / "project")
    project.trust_operators()
    (project.folder / "sitecustomize.py").write_text(WATCHED, encoding="utf-8")
    for stage in STAGES[:count]:
        yield Trial(stage, "\n".join(watch(project, *script_of(stage))))
    if count > len(STAGES):
        # DVC runs a stage's command by a shell, as dvc.yaml says it; nothing else counts.
        events = watch(project, *DVC, "repro", "--force", "download")
        yield Trial("dvc repro", "\n".join(event for event in events if event.startswith("socket")))
    planted = in_turn(PLANTED, randomness)
    for number in range(count - len(STAGES) - 1):
        yield (
            ask_mirrors(project, randomness) if number % 2 else plant_event(project, next(planted))
        )


def watch(project: Project, *command: str, check: bool = True) -> list[str]:
    """Run a command of Python's with the audit hook; the events that need a reason."""
    file = project.folder / "events"
    file.write_text("", encoding="utf-8")
    around = ["env", f"CNNPIPE_EVENTS={file}", "LOKY_MAX_CPU_COUNT=1"]
    project.run(*around, *command, check=check)
    return [line for line in file.read_text(encoding="utf-8").splitlines() if is_notable(line)]


def is_notable(event: str) -> bool:
    if event.startswith("subprocess.Popen"):
        return bool(re.match(r"subprocess\.Popen \('(/\S*/)?(ba|da|z)?sh'", event))
    if event == "socket.bind (('::1', 0),)":
        return False  # urllib3 sees by that whether there is IPv6, and closes it
    # A socket that has a path joins processes of this machine.
    return not re.match(r"socket\.(connect|bind) \(b?'", event)


def ask_mirrors(project: Project, randomness: random.Random) -> Trial:
    """Name closed ports of this machine as mirrors: they are asked, and nobody else."""
    places = [
        (f"127.0.0.{randomness.randint(2, 250)}", randomness.randint(1, 1023)) for _ in range(3)
    ]
    urls = [f"http://{host}:{port}/" for host, port in places]
    settings = {"data.name": "mnist", "data.mirrors": urls, "data.timeout": 1}
    for key, value in settings.items():
        project.set(key, value)
    events = watch(project, *script_of("download"), check=False)
    project.set("data.name", "digits")
    named = {f"socket.{kind} {form}" for kind, form in _forms(places)}
    checks = {
        "no other": named.issuperset(events),
        "each": len({event for event in events if event.startswith("socket.connect")}) == len(urls),
    }
    return Trial(f"mirrors {', '.join(urls)}", failed(checks, f"{events}"))


def _forms(places: list[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    for host, port in places:
        yield "connect", f"(({host!r}, {port}),)"
        yield "getaddrinfo", f"({host!r}, {port})"


LOADED = "    params = load_params(Params)\n"


def plant_event(project: Project, event: str) -> Trial:
    path = project.folder / "stages" / "validate.py"
    before = path.read_text(encoding="utf-8")
    text = before.replace(LOADED, f"{LOADED}    {PLANTED[event]}\n", 1)
    path.write_text(text, encoding="utf-8")
    events = watch(project, *script_of("validate"))
    path.write_text(before, encoding="utf-8")
    seen = any(event in each for each in events)
    return Trial(f"{event} planted", "" if seen else f"saw {events}")


ENTRY = re.compile(
    r"^([a-z0-9-]+)==([^\s;]+)(?: ; (.+?))? \\\n"
    r"(?: +--hash=sha256:[0-9a-f]{64} \\\n)* +--hash=sha256:[0-9a-f]{64}\n",
    re.MULTILINE,
)
"""A package of a lock: its name, its version, for which systems, the hashes of its files."""


@promise(
    "Every dependency, also of dependencies, has one version and the SHA-256 of its files in the "
    "lock, which names no host; a pin that is missing or loosened is noticed",
    full=400,
    few=20,
)
def dependencies(count: int, randomness: random.Random, folder: Path) -> Iterator[Trial]:
    locks = {name: (LOCKS / name).read_text(encoding="utf-8") for name in stated()}
    for lock, lines in stated().items():
        faults = [fault for name in sorted(needed(lines)) if (fault := unpinned(locks[lock], name))]
        yield Trial(f"{lock} as it is", ", ".join(faults))
    pins = [(lock, name) for lock, lines in stated().items() for name in sorted(needed(lines))]
    for _ in range(count - len(locks)):
        lock, name = randomness.choice(pins)
        how, changed = loosen(locks[lock], name, randomness)
        wrong = "" if unpinned(changed, name) else "not noticed"
        yield Trial(f"{name} in {lock}: {how}", wrong)


def stated() -> dict[str, list[str]]:
    """What each lock is made from."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        tables = tomllib.load(file)
    project = tables["project"]
    return {
        "build.txt": tables["build-system"]["requires"],
        "dev.txt": project["dependencies"] + project["optional-dependencies"]["dev"],
    }


@cache
def _requirements(name: str, extra: str) -> list[Requirement]:
    lines = map(Requirement, metadata.requires(name) or [])
    return [line for line in lines if not line.marker or line.marker.evaluate({"extra": extra})]


def needed(lines: list[str]) -> set[str]:
    """All that is installed because of these requirements, by the packages' own metadata."""
    waiting = [Requirement(line) for line in lines]
    found: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        new = {(name, extra) for extra in {"", *requirement.extras}} - found
        found |= new
        waiting += [line for each in new for line in _requirements(*each)]
    return {name for name, _ in found}


def unpinned(lock: str, name: str) -> str:
    """What is wrong with a lock's entries or with those of a package, or nothing."""
    rest = [line for line in ENTRY.sub("", lock).splitlines() if line and line[0] != "#"]
    if rest:
        return f"not a version with its SHA-256: {rest[0]}"
    entries = [(version, marker) for each, version, marker in ENTRY.findall(lock) if each == name]
    locked = {version for version, marker in entries if not marker or Marker(marker).evaluate()}
    installed = metadata.version(name)
    return "" if locked == {installed} else f"{name} {installed} is installed, locked is {locked}"


def loosen(lock: str, name: str, randomness: random.Random) -> tuple[str, str]:
    """Damage one package's entry as an edit by hand does."""
    [entry, *_] = re.findall(rf"^{re.escape(name)}==(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    version = metadata.version(name)
    ways = {
        "no entry": "",
        "a range": entry.replace(f"=={version}", f">={version}", 1),
        "another version": entry.replace(f"=={version}", f"=={version}.1", 1),
        "no hashes": re.sub(r"--hash=\S+", "", entry),
        "a weaker hash": entry.replace("sha256:", "md5:", 1),
        "a shortened hash": re.sub(r"(sha256:[0-9a-f]{63})[0-9a-f]", r"\1", entry, count=1),
        "a place": f"--extra-index-url elsewhere\n{entry}",
        "a file of a place": entry.replace(f"=={version}", " @ file:///elsewhere.whl", 1),
    }
    how = randomness.choice(list(ways))
    return how, lock.replace(entry, ways[how], 1)
