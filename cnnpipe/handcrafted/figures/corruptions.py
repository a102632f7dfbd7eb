"""One image under every corruption."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import INTENSITY, Array
from cnnpipe.findings.wording import short
from cnnpipe.handcrafted.corruptions import Corruption
from cnnpipe.handcrafted.figures.views import outline


@layout.styled
def draw(clean: Array, levels: Mapping[Corruption, Array], subtitle: str) -> Figure:
    """One image under every corruption at every severity; 0 is the image as stored.

    Shape: clean (H, W); images of each corruption (severities, H, W), all 0 to 255.
    """
    rows = -(-len(levels) // 2)
    tile, pitch = 0.6, 1.05
    page = layout.Page(
        layout.BODY + rows * pitch + 0.1, f"One image under {len(levels)} corruptions", subtitle
    )
    for place, (corruption, images) in enumerate(levels.items()):
        column, row = divmod(place, rows)
        left, top = layout.MARGIN + column * 4.15, layout.BODY + row * pitch
        page.heading(left, top, corruption.name)
        page.note(left + 0.85, top, corruption.unit, fontsize=7.5)
        shown = [(clean, "0"), *zip(images, map(short, corruption.severities), strict=True)]
        for step, (image, severity) in enumerate(shown):
            x = left + step * (tile + 0.15)
            axes = page.canvas(x, top + 0.2, tile, tile)
            INTENSITY.show(axes, image)
            outline(axes, image)
            page.note(x + tile / 2, top + 0.2 + tile + 0.03, severity, ha="center", fontsize=7)
    return page.figure
