"""The finding as reports/handcrafted.json holds it: tables, figures, captions."""

from typing import Any

from cnnpipe.findings.finding import Finding


def summary(finding: Finding) -> dict[str, Any]:
    """The whole of reports/handcrafted.json."""
    figures = [
        {"name": name, "file": figure_file(name), "caption": caption}
        for name, caption in captions(finding).items()
    ]
    return finding.summary() | {
        "figure": f"figures/{figures[0]['file']}",
        "tables": [f"handcrafted/{name}.csv" for name in finding.tables],
        "figures": figures,
    }


def figure_file(name: str) -> str:
    """Where a figure is, relative to reports/figures."""
    return f"handcrafted/{name}.png"


def captions(finding: Finding) -> dict[str, str]:
    """What each figure asks, of which data, and what it does not show; by the figure's name."""
    return {
        "robustness": f"{finding.question} Accuracy against severity on {finding.data}; broken "
        f"lines are this pipeline’s models, trained on all images. {finding.limits}",
        "corruptions": "Every corruption at every severity, on one test image; 0 is the image as "
        "stored. All methods are given these very bytes.",
        "views": "What does each feature make of one image, clean and corrupted? Sobel, Canny and "
        "HOG drop the sign of a gradient, so under inversion they stay as they are; what a network "
        "learned need not. One scale for all Sobel maps and one for all learned maps. The circles "
        "are SIFT’s own keypoints; the classifier counts words on a regular grid. A picture is no "
        "verdict: that is in the numbers.",
    }
