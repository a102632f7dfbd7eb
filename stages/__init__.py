"""One click script per DVC stage: parse, load, call `cnnpipe`, save. No logic."""

import os
import signal
import sys

from cnnpipe.system.processes import end_with_parent
from cnnpipe.system.surroundings import be_independent
from cnnpipe.system.threads import collect_garbage_rarely, configure_threads, keep_freed_memory

configure_threads()  # torch reads this when it is imported, which no stage does before this line
keep_freed_memory()
collect_garbage_rarely()

# While `python -m` looks for a stage, its name is "-m". A program that imports one is no stage.
if sys.argv[:1] == ["-m"]:
    be_independent()
    # Until `cnnpipe.system.command` takes over, a stage imports its modules, for seconds, and has
    # begun nothing: Ctrl-C ends it without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A SIGTERM to DVC alone, or a SIGKILL, ends DVC without a word to its stage.
    if os.name == "posix" and "DVC_STAGE" in os.environ:
        end_with_parent()
