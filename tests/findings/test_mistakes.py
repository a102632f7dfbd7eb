"""Which test images are drawn: the chosen ones, and the worst mistakes."""

import pytest

from cnnpipe.findings.mistakes import images_to_draw, worst_mistakes
from cnnpipe.params.visualize import VisualizeParams
from cnnpipe.system.errors import InputError
from tests.visualize.test_figures import PREDICTIONS


def test_an_index_beyond_the_test_set_is_refused():
    with pytest.raises(
        InputError, match=r"visualize.samples: got 5; expected at most 4.* 5 images"
    ):
        images_to_draw(chosen([0, 5]), PREDICTIONS, 5, "mnist")


def chosen(samples, worst=0):
    return VisualizeParams(samples=samples, mistakes=3, worst=worst)


def test_worst_mistakes_come_after_the_chosen_images_and_none_twice():
    assert images_to_draw(chosen([4, 3], worst=2), PREDICTIONS, 5, "mnist") == [4, 3, 2]


def test_worst_mistakes_are_wrong_and_most_confident_first():
    # 2 and 3 are equally confident: they keep the test set's order.
    assert worst_mistakes(PREDICTIONS, 10)["index"].tolist() == [2, 3, 1]
    assert worst_mistakes(PREDICTIONS, 2)["index"].tolist() == [2, 3]
