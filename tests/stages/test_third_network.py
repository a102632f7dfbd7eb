"""A network more: its file, its name in the list and its section of params.yaml are enough."""

import re

from tests.helpers.stages import run_there
from tests.helpers.third_network import NAME, TITLE, add_third_network
from torture.project import DVC, Project


def test_a_third_network_goes_through_all_stages_of_a_model(tmp_path):
    project = Project.create(tmp_path / "project")
    add_third_network(project.folder)
    project.trust_operators()
    names = ("lenet5", "vgg", NAME)
    kinds = ("train", "evaluate", "visualize", "explain")
    of_models = [f"{kind}@{name}" for kind in kinds for name in names]
    listed = project.run(*DVC, "stage", "list", "--name-only").stdout.split()
    assert [stage for stage in listed if "@" in stage] == of_models

    stages = ["validate", "download", *of_models[:-3], f"explain@{NAME}", "summarize", "report"]
    run_there(project, *stages)
    metrics = project.json("reports/metrics.json")
    assert list(metrics) == list(names)
    assert metrics[NAME]["parameters"] == 8 * (25 + 1) + 10 * (8 * 7 * 7 + 1)
    assert metrics[NAME]["test_accuracy"] > 0.3  # ten classes: guessing gives a tenth
    page = (project.folder / "reports" / "index.html").read_text(encoding="utf-8")
    headings = re.findall(r'<h3 id="(\w+)-score">(.*?)</h3>', page)
    assert headings == [("lenet5", "LeNet-5"), ("vgg", "VGG"), (NAME, TITLE)]
    card = (project.folder / f"reports/cards/{NAME}.md").read_text(encoding="utf-8")
    assert "| channels | 8 |" in card
