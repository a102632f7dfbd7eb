"""`make race`: seconds to an accuracy.

contestants.py   who runs, on which recipe, and the result
tutorial.py      the common practice that they run against
"""
