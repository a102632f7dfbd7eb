"""Attempts to break the pipeline: seeded, counted, and repeatable (`make torture`).

Each module holds promises of one kind. A promise is a function that does one damaging thing after
the other to a copy of the project or to single files, and says of each whether the promise held.
`campaign.py` says what a promise is, `__main__.py` runs them; the test suite runs a few of most.
"""
