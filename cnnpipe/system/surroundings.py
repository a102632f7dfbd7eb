"""What a notebook or a console sets for other programs, and a command must not trip over."""

import os
import sys


def be_independent() -> None:
    """Draw without a display, and print whatever the console's encoding. Call it before imports.

    A notebook tells all that it starts, by MPLBACKEND, to draw into it; matplotlib refuses to be
    imported where that backend is not installed. And "→" or "σ", which a console of Windows does
    not have, would end a command that has done its work; they become "?".
    """
    os.environ["MPLBACKEND"] = "agg"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # closed ones are None
            stream.reconfigure(errors="replace")
