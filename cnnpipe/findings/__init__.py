"""From measurements to statements.

intervals.py   mean ± sd; confidence intervals: Wilson, Student's t, bootstrap
estimates.py   means with their intervals, differences run by run
evidence.py    what runs show about a claim: t-test, equivalence test, Holm; the three answers
runs.py        independent runs: a seed for each, and tables that are kept
mcnemar.py     two classifiers on the same images: McNemar's test, interval of the difference
mistakes.py    which test images stand for what a network gets right and wrong
ladder.py      where the speed of a convolution comes from, rung by rung
finding.py     the outcome of an experiment: number, uncertainty, verdict, statement
wording.py     how names and numbers are written
"""
