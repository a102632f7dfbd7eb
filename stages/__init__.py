"""One click script per DVC stage: parse, load, call `cnnpipe`, save. No logic."""

import os

# OpenMP's threads spin while they wait for each other, unless told to sleep. Where another process
# wants the same cores (a second experiment of the queue, say), a spinning thread keeps the very
# core that the awaited one needs: a training step of LeNet-5 was seen to take 5 s instead of 33 ms.
# A thread that sleeps at once costs its waking: 27 ms a step instead of 14 on two idle cores, VGG
# 114 instead of 91. So they spin 3,000 times before they sleep: 16 ms, VGG 95; and with a second
# training on the same cores 46 ms and 238, where sleeping at once takes 25 and 155.
#
# libgomp reads the count; other OpenMP libraries sleep. Whoever sets OMP_WAIT_POLICY is obeyed. It
# is read when torch is imported, which no stage does before this line.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
