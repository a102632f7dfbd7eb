"""One self-contained HTML page from the files under reports/.

    inputs.py        what there is: JSON, CSV and figures, read and checked
    browser_data.py  what the page's scripts compute with: layers, weights, test images
    sentences.py     sentences made from the numbers
    architecture.py  the networks as tables of layers
    code.py          functions of the project, quoted
    glossary.py      terms, explained
    illustrations.py small worked examples
    exploration.py   snapshots, the map of the test set and robustness, for the page's scripts
    page.py          the templates, filled from all of these
    templates/       what stands on the page: one for each section
    styles/          how it looks; interactive.css, learn.css: the sections that compute;
                     print.css: on paper
    scripts/         what happens on it: plain scripts that share one scope

Everything is inlined: the page opens from a disk without a network. It holds no time of its making,
so that the same files give the same bytes.
"""
