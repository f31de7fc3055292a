"""Device, precision, and how processes join, as far as a machine without GPUs can tell."""

import pytest
import torch
import torch.distributed as dist

from encoders.errors import OptionsError
from trainers.device import choose_placement, tuned_convolutions
from trainers.processes import joined_processes


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)


def test_auto_without_a_gpu(no_gpu):
    placement = choose_placement("auto", "auto")
    assert (placement.device.type, placement.precision) == ("cpu", "fp32")
    with pytest.raises(OptionsError, match="device is 'cuda' and torch sees no GPU"):
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


def test_each_process_gets_its_own_gpu(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_placement("auto", "auto").device == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(OptionsError, match="process 3 on this machine and torch sees 2 GPUs: give --nproc"):
        choose_placement("auto", "auto")


@pytest.mark.parametrize("unit", ["avx512_bf16", "amx_bf16"])
def test_auto_on_a_cpu_that_has_bf16(no_gpu, monkeypatch, unit):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, unit: True})
    assert choose_placement("auto", "auto").precision == "bf16"
    assert choose_placement("auto", "fp32").precision == "fp32"


def test_a_torch_that_does_not_say_gets_fp32(no_gpu, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choose_placement("auto", "auto").precision == "fp32"


def test_autocast_follows_the_precision(no_gpu):
    placement = choose_placement("cpu", "bf16")
    with placement.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with choose_placement("cpu", "fp32").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_convolutions_are_tuned_for_the_run_alone():
    before = torch.backends.cudnn.benchmark
    with pytest.raises(KeyError), tuned_convolutions():
        assert torch.backends.cudnn.benchmark
        raise KeyError
    assert torch.backends.cudnn.benchmark == before


@pytest.fixture
def joining(monkeypatch):
    """What a process of two does to join, in order; nothing of it really happens."""
    done = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("set_device", device)))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: done.append(("join", backend)))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append(("leave",)))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    return done


def test_a_process_takes_its_own_gpu_before_it_joins(joining):
    own = torch.device("cuda", 1)
    with joined_processes(own) as processes:
        assert (processes.rank, processes.world) == (1, 2)
    assert joining == [("set_device", own), ("join", "nccl"), ("leave",)]


def test_on_the_cpu_no_gpu_is_touched(joining):
    with joined_processes(torch.device("cpu")):
        pass
    assert joining == [("join", "gloo"), ("leave",)]
