"""One click script per DVC stage: parse, load, call `cnnpipe`, save. No logic."""

import os

# OpenMP's threads spin while they wait for each other, unless told to sleep. Where another process
# wants the same cores (a second experiment of the queue, say), a spinning thread keeps the very
# core that the awaited one needs, and a training step takes a hundred times as long. OpenMP reads
# this when torch is imported, which no stage does before this line.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
