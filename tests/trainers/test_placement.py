"""Device and precision."""

import pytest
import torch

from trainers.errors import OptionsError
from trainers.placement import choose_placement


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_without_a_gpu(no_gpu):
    placement = choose_placement("auto", "auto")
    assert (placement.device.type, placement.precision) == ("cpu", "fp32")
    with pytest.raises(OptionsError, match="--device is 'cuda' and torch sees no GPU"):
        choose_placement("cuda", "auto")


def test_auto_with_a_gpu(gpu, monkeypatch):
    assert (choose_placement("auto", "auto").device.type, choose_placement("auto", "auto").bf16) == (
        "cuda",
        True,
    )
    assert choose_placement("auto", "fp32").precision == "fp32"
    assert choose_placement("cpu", "auto").device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert choose_placement("auto", "auto").precision == "fp32"
    with pytest.raises(OptionsError, match="this GPU has none"):
        choose_placement("cuda", "bf16")


def test_bf16_on_a_cpu_must_be_asked_for(no_gpu):
    placement = choose_placement("cpu", "bf16")
    with placement.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with choose_placement("cpu", "fp32").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
