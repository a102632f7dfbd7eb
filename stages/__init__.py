"""One click script per DVC stage: parse, load, call `cnnpipe`, save. No logic."""

import os

# OpenMP's threads spin while they wait for each other, unless told to sleep. Where another process
# wants the same cores (a second experiment of the queue, say), a spinning thread keeps the very
# core that the awaited one needs: a training step of LeNet-5 was seen to take 5 s instead of 33 ms.
# On two idle cores sleeping costs something, 27 ms a step against 15 (VGG 115 against 77); whoever
# has the cores alone may set OMP_WAIT_POLICY=ACTIVE. OpenMP reads it when torch is imported, which
# no stage does before this line.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
