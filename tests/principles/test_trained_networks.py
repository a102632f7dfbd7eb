"""A study is of networks that were trained on the same images."""

import dataclasses

import pytest

from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import TrainedNetwork
from cnnpipe.principles.study import Study
from cnnpipe.system.errors import InputError
from tests.helpers.tiny_study import tiny_study


def test_networks_of_two_normalisations_are_refused():
    tiny = tiny_study()
    networks = [TrainedNetwork(name, m, tiny.normalization) for name, m in tiny.models.items()]
    study = Study.of(tiny.dataset, networks, tiny.params, tiny.seed)
    assert (study.normalization, study.models) == (tiny.normalization, tiny.models)
    networks[1] = dataclasses.replace(networks[1], normalization=Normalization(0.5, 0.5))
    with pytest.raises(InputError, match="lenet5 and vgg normalise images differently"):
        Study.of(tiny.dataset, networks, tiny.params, tiny.seed)
