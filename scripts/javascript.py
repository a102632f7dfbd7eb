"""Check the types of the page's scripts: TypeScript's own checker, in Deno, reads their JSDoc.

The page has its scripts as one, in which each knows those before it, so they are checked as one
file. What is found is reported at the place of its source.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cnnpipe.report.browser_data import SCRIPTS

FOLDER = Path("cnnpipe/report/scripts")
SOURCES = [FOLDER / f"{name}.js" for name in (*SCRIPTS, "chapters", "figures")]
TYPES = FOLDER / "types.d.ts"
CONFIG = {
    "compilerOptions": {
        "checkJs": True,
        "strict": True,
        "noImplicitAny": False,  # a parameter without a type may be anything
        "lib": ["dom", "dom.iterable", "esnext"],
    }
}


def main() -> int:
    """Exit status of the check; the faults go to the standard error output."""
    texts = [source.read_text(encoding="utf-8") for source in SOURCES]
    with TemporaryDirectory() as folder:
        script, config = Path(folder) / "page.js", Path(folder) / "deno.json"
        script.write_text("\n".join(texts), encoding="utf-8")
        config.write_text(json.dumps(CONFIG), encoding="utf-8")
        found = subprocess.run(
            ["deno", "check", "--quiet", "--config", config, TYPES, script],
            env=os.environ | {"NO_COLOR": "1", "DENO_DIR": folder, "DENO_NO_UPDATE_CHECK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [
        f"{source}:{number}"
        for source, text in zip(SOURCES, texts, strict=True)
        for number in range(1, text.count("\n") + 2)
    ]
    told = re.sub(r"file://\S+page\.js:(\d+)", lambda at: lines[int(at[1]) - 1], found.stderr)
    sys.stderr.write(told)
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())
