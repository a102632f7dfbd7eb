"""Figures of a trained network, from arrays alone.

layout.py         the style of all figures, and a page measured in inches
colours.py        five colours, and scales from numbers to colours
curves.py         curves with intervals
kernels.py        kernels of a convolution, maps side by side
illustration.py   a figure with the facts that the report states about it

Rules that hold for every figure:

- A colour means one thing: white is zero, blue is above, orange is below. Values that cannot be
  negative use the blue half, from zero on. Lightness falls evenly with the distance from zero, so
  the figures survive grey printing and the common colour blindnesses.
- One scale per layer, with its colour bar; no map is stretched on its own.
- Pixels are enlarged to squares (nearest neighbour), never smoothed.
- The same arrays give the same bytes: no pyplot, no user configuration, matplotlib's own font, and
  no software version in the file.
"""
