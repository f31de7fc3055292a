"""How processes join, as far as a machine without GPUs can tell."""

import pytest
import torch
import torch.distributed as dist

from trainers.processes import joined_processes


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
