"""Weights from a file, a folder or torchvision, put into a module (torch).

Nothing here unpickles: safetensors, or ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encoders.errors import WeightsError, first_line
from encoders.network import reachable
from encoders.vision import check_backbone

THE_WAYS = (
    "give a file (--image-weights FILE), give a folder (--text-encoder FOLDER), "
    "or start with random weights (--from-scratch)"
)
_WEIGHT_FILE_NAMES = ("model.safetensors", "pytorch_model.bin", "model.pt", "model.pth")
# State dicts are often wrapped by the training loop that saved them.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

State = dict[str, Tensor]


def read_weights(source: Path | str) -> State:
    """Read a state dict from a safetensors or torch file, or from a folder holding one.

    Raises:
        WeightsError: there is no such file, or it holds no state dict that can be read without unpickling.
    """
    path = _weights_file(Path(source))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise whatever a damaged file makes them raise
        raise WeightsError(
            f"weights {path} cannot be read ({first_line(error)}): give a safetensors file"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"weights {path} hold no state dict: give a file of named tensors")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise WeightsError(f"there is no weights file {path}")
    for name in _WEIGHT_FILE_NAMES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"folder {path} holds no weights: expected one of {', '.join(_WEIGHT_FILE_NAMES)}")


def load_state(module: nn.Module, state: State, *, source: str) -> None:
    """Copy weights into a module, wherever in the state dict the module's own names begin.

    Args:
        module: what to fill; every parameter and running statistic of it must be found.
        state: may have more names (a classifier, another tower) and a common prefix (``module.``, ``bert.``).
        source: where the state came from, for the message.

    Raises:
        WeightsError: names are missing or shapes differ.
    """
    expected = module.state_dict()
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    prefix = _prefix_of(needed, state)
    missing = [name for name in needed if prefix + name not in state]
    if missing:
        raise WeightsError(
            f"weights {source} do not fit: {len(missing)} of {len(needed)} tensors are missing, "
            f"e.g. {missing[0]}"
        )
    for name in needed:
        if state[prefix + name].shape != expected[name].shape:
            raise WeightsError(
                f"weights {source} do not fit: {name} is {tuple(state[prefix + name].shape)} "
                f"and should be {tuple(expected[name].shape)}"
            )
    module.load_state_dict({name: state[prefix + name] for name in needed}, strict=False)


def _prefix_of(needed: list[str], state: State) -> str:
    """The prefix under which most of the needed names stand."""
    probe = max(needed, key=len)
    prefixes = [name[: -len(probe)] for name in state if name.endswith(probe)]
    return max(prefixes, key=lambda prefix: sum(prefix + name in state for name in needed), default="")


def torchvision_state(name: str, *, offline: bool = False) -> State:
    """The best weights torchvision has for a backbone, downloaded once into torch's hub folder.

    Raises:
        PresetError: torchvision has no such model.
        WeightsError: they are not on this machine and cannot be fetched.
    """
    import torchvision

    check_backbone(name)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not cached.is_file() and (offline or not reachable(weights.url)):
        raise WeightsError(
            f"image encoder '{name}' has no weights on this machine, and torchvision's are out of reach: "
            f"{THE_WAYS}"
        )
    try:
        with redirect_stderr(io.StringIO()):  # torch.hub announces the download there
            state: State = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # a wrong checksum is a RuntimeError
        raise WeightsError(
            f"weights {weights.url} cannot be fetched ({first_line(error)}): {THE_WAYS}"
        ) from error
    return state
