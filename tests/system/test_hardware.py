"""Choice of device and number format."""

import pytest
import torch

from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_device, choose_dtype, describe, multiply_in


def test_auto_is_the_accelerator_or_the_cpu_and_the_cpu_can_be_chosen():
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    assert choose_device("auto") == (accelerator or torch.device("cpu"))
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_device_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match="device: got 'cuda'; expected auto or") as caught:
        choose_device("cuda")
    assert "\n" not in str(caught.value)


def test_precision_on_the_cpu():
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) is torch.float32
    assert choose_dtype("bfloat16", cpu) is torch.bfloat16
    assert choose_dtype("float32", torch.device("cuda")) is torch.float32


def test_description_of_the_machine():
    description = describe(torch.device("cpu"))
    assert description["torch"] == torch.__version__
    assert description["threads"] == torch.get_num_threads()
    assert description["processor"]


def test_a_chosen_device_multiplies_in_float32_whoever_asks():
    """torch's own default is TF32 for its convolutions, and 16 bits for parts of a sum."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    multiply_in("tf32")
    assert products.allow_tf32
    assert convolutions.allow_tf32
    choose_device("cpu")
    assert not products.allow_tf32
    assert not convolutions.allow_tf32
    assert not products.allow_bf16_reduced_precision_reduction
    assert not products.allow_fp16_reduced_precision_reduction
