"""One click script per DVC stage: parse, load, call `cnnpipe`, save. No logic."""
