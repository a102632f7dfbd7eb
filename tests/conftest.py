"""Tests run side by side: each worker, and each stage it starts, computes with one thread."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported, after this line
