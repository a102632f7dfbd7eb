"""Numbers as people read them."""

from typing import get_args

import pytest

from cnnpipe.findings.wording import count, duration, percent, short, title_of
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.params.data import DatasetName


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.9911, 2), "99.11 %"),
        (percent(0.99999, 2), "> 99.99 %"),
        (percent(0.00001), "< 0.1 %"),
        (percent(1.0), "100.0 %"),
        (percent(0.0), "0.0 %"),
        (short(-0.012345), "−0.0123"),
        (duration(7.4), "7 s"),
        (duration(600), "10 min 0 s"),
        (duration(3725), "1 h 2 min"),
        (count(1, "error"), "1 error"),
        (count(1000, "error"), "1,000 errors"),
    ],
)
def test_numbers_as_people_read_them(text, expected):
    assert text.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_names_of_params_have_one_title_each():
    names = [*MODEL_NAMES, *get_args(DatasetName)]
    titles = [title_of(name) for name in names]
    assert titles[:3] == ["LeNet-5", "VGG", "MNIST"]
    assert not set(names) & set(titles)
    assert title_of("a network of the tests") == "a network of the tests"
