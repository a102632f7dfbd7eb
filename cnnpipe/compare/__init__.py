"""`python -m cnnpipe.compare REV_A REV_B`: two runs side by side on one page.

revisions.py     what a commit or an experiment left
differences.py   what differs, in numbers and in figures on identical scales
figures.py       the figures of both runs, drawn alike
"""
