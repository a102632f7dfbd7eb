"""Every claim of the theory, measured: a module per claim, with claim, formula and experiment.

    <claim>.py           `CLAIM`, its words, and `measure(study) -> Finding`
    figures/<claim>.py   `draw`: its figure, from the finding's tables and details
    claim.py             what a claim consists of
    claims.py            all of them, in the order of the theory
    study.py             what every experiment is given, and a plain way to train
    networks.py          the small networks that are compared, and their names
    replicas.py          networks of the pipeline's architecture, trained again
    moved_images.py      moved images, and accuracy on them
    scrambled.py         the control: images whose pixels are in a random order
    parallel.py          all claims measured at once, one to a core

A verdict follows from the numbers, and can be "shown not to hold". The claim about hand-crafted
features has a package and a stage of its own: `cnnpipe.handcrafted`.
"""
