"""Where a run computes, and in which number format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from encoders.errors import DeviceMemoryError, OptionsError
from encoders.torch_runtime import gpu_has_bfloat16
from trainers.options import DeviceName, Precision


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and how it multiplies."""

    device: torch.device  # the torch device
    bf16: bool  # whether matrices are multiplied in bfloat16; weights and losses stay float32

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """The context the towers run in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def choose_placement(device: DeviceName, precision: Precision) -> Placement:
    """Settle what ``auto`` means on this machine.

    bf16 is the default where the hardware has it: on recent GPUs, and on CPUs with AVX-512 or AMX units for
    it, where it halves the time of a step. Elsewhere it is emulated, many times slower than float32.

    Raises:
        OptionsError: a GPU, or bf16 on it, is asked for and not there; or there are more processes than GPUs.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise OptionsError("device is 'cuda' and torch sees no GPU: use 'cpu', or install a CUDA build")
    chosen = _own_gpu() if has_gpu and device != "cpu" else torch.device("cpu")
    has_bf16 = gpu_has_bfloat16(chosen) if chosen.type == "cuda" else _cpu_has_bf16()
    if precision == "bf16" and chosen.type == "cuda" and not has_bf16:
        raise OptionsError("precision is 'bf16' and this GPU has none: use 'fp32'")
    return Placement(chosen, bf16=precision == "bf16" or (precision == "auto" and has_bf16))


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Put the memory that is short outside of a step into one line, with advice on what takes less of it.

    Raises:
        DeviceMemoryError: the GPU's memory is too small for what is done inside.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the GPU's memory is too small for the model: {advice}, free the memory that other programs "
            "hold, or train on the CPU"
        ) from error


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """Let cuDNN try its algorithms on the first batch of a shape: the scans of a run all have the same."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _own_gpu() -> torch.device:
    """The GPU of this process: the first, or the one that torchrun's number of it names."""
    number = os.environ.get("LOCAL_RANK")
    if number is None:
        return torch.device("cuda")
    if int(number) >= torch.cuda.device_count():
        raise OptionsError(
            f"torchrun started process {int(number) + 1} on this machine and torch sees "
            f"{torch.cuda.device_count()} GPUs: give --nproc-per-node no more than that"
        )
    return torch.device("cuda", int(number))


def _cpu_has_bf16() -> bool:
    # torch says so since 2.10; before that, float32 is the safe answer.
    ask = getattr(torch.cpu, "get_capabilities", None)
    found = ask() if ask else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
