"""Every claim of the theory, measured: a module per claim, with claim, formula and experiment.

    <claim>.py           `NAME`, `CLAIM` and `measure(study) -> Finding`
    figures/<claim>.py   `draw`: its figure, from the finding's tables and details
    claims.py            the claims, in the order of the theory
    study.py             what every experiment is given
    moved_images.py      moved images, and the small networks that are judged on them
    parallel.py          all claims measured at once, one to a core

The claim about hand-crafted features has a package and a stage of its own: `cnnpipe.handcrafted`.
"""
