"""Every claim of the theory, measured: a module per claim, with claim, formula and experiment.

    <claim>.py           `CLAIM`, its words, and `measure(study) -> Finding`
    figures/<claim>.py   `draw`: its figure, from the finding's tables and details
    claim.py             what a claim consists of
    claims.py            all of them, in the order of the theory
    study.py             what every experiment is given, and a plain way to train
    networks.py          the small networks that are compared, and their names
    moved_images.py      moved images, and accuracy on them
    estimates.py         means with their intervals, differences seed by seed
    parallel.py          all claims measured at once, one to a core

A verdict follows from the numbers, and can be "not supported". The claim about hand-crafted
features has a package and a stage of its own: `cnnpipe.handcrafted`.
"""
