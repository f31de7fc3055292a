"""Pretrained weights: from a file, a folder, torchvision or the Hugging Face hub (torch).

Nothing here unpickles: safetensors, or ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encoders.errors import WeightsError
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import Pooling
from encoders.text import TransformersTower, encoder_of, text_model_class, transformers_tower
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
        reason = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"weights {path} cannot be read ({reason}): give a safetensors file") from error
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
    if offline and not cached.is_file():
        raise WeightsError(f"no weights for image encoder '{name}' on this machine, and offline: {THE_WAYS}")
    try:
        state: State = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise WeightsError(
            f"no weights for image encoder '{name}': {weights.url} is out of reach: {THE_WAYS}"
        ) from error
    return state


def pretrained_text_tower(name: str, *, pooling: Pooling, offline: bool = False) -> TransformersTower:
    """Load a transformers text encoder from a folder, the local cache or the hub, in float32.

    Raises:
        WeightsError: it is nowhere to be had, or its weights are incomplete.
    """
    with _reaching_for(name), quiet_transformers():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(name, local_files_only=offline)
        model, report = text_model_class(config).from_pretrained(
            name, config=config, local_files_only=offline, output_loading_info=True
        )
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise WeightsError(f"text encoder '{name}' lacks {len(missing)} of its weights, e.g. {missing[0]}")
    return TransformersTower(encoder_of(model).float(), pooling=pooling)


def unpretrained_text_tower(
    name: str, *, pooling: Pooling, vocab_size: int | None, offline: bool = False
) -> TransformersTower:
    """Build a transformers text encoder with random weights, in the shape of a folder or hub model.

    Args:
        name: a folder, or a hub name; of a hub name only the configuration is fetched, and for ``BERT_BASE``
            models not even that.
        pooling: see ``TransformersTower``.
        vocab_size: of the tokenizer that will feed it; None keeps the configuration's.
        offline: never reach for the hub.

    Raises:
        WeightsError: its configuration is nowhere to be had.
    """
    config: dict[str, Any] = {"model_type": "bert"}
    if name not in BERT_BASE:
        with _reaching_for(name), quiet_transformers():
            from transformers import AutoConfig

            full_config = AutoConfig.from_pretrained(name, local_files_only=offline)
            config = full_config.to_diff_dict() | {"model_type": full_config.model_type}
    if vocab_size is not None:
        config["vocab_size"] = vocab_size
    return transformers_tower(config, pooling=pooling)


# Models of the shape of BERT-base, which transformers builds without asking anybody.
BERT_BASE = frozenset({"emilyalsentzer/Bio_ClinicalBERT", "google-bert/bert-base-uncased"})


def pretrained_tokenizer(name: str, max_tokens: int, *, offline: bool = False) -> CaptionTokenizer:
    """The tokenizer of a transformers model, as the tokenizers library runs it.

    Args:
        name: a folder or a hub name.
        max_tokens: longest row of ids; less when the model reads less.
        offline: never reach for the hub.

    Raises:
        WeightsError: it is nowhere to be had, or has no form the tokenizers library runs.
    """
    with _reaching_for(name), quiet_transformers():
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(name, local_files_only=offline)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None or loaded.pad_token_id is None:
        raise WeightsError(f"the tokenizer of '{name}' needs Python code to run: use another text encoder")
    backend.enable_truncation(min(max_tokens, loaded.model_max_length))
    backend.enable_padding(pad_id=loaded.pad_token_id, pad_token=loaded.pad_token)
    return CaptionTokenizer(backend)


@contextmanager
def _reaching_for(name: str) -> Iterator[None]:
    """Turn the many ways of not finding a model into one line."""
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError) as error:
        if Path(name).is_dir():
            reason = (str(error).splitlines() or [""])[0]
            raise WeightsError(f"folder {name} is not a model transformers can load ({reason})") from error
        raise WeightsError(
            f"no weights for text encoder '{name}' on this machine, and the hub is out of reach: {THE_WAYS}"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own notes, bars and warnings off the terminal."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
