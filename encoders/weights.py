"""Pretrained weights and tokenizers: from files, folders, torchvision and the Hugging Face hub (torch).

Nothing here unpickles (safetensors, or ``torch.load(weights_only=True)``), no code that comes with a model is
run, and no tensor stays random unseen: what a checkpoint lacks is an error.
"""

from __future__ import annotations

import io
import ssl
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

import torch
from torch import Tensor, nn

from encoders.errors import WeightsError, first_line
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import Pooling
from encoders.text import TransformersTower, encoder_of, text_model_class, transformers_tower
from encoders.vision import check_backbone

THE_WAYS = (
    "give a file (--image-weights FILE), give a folder (--text-encoder FOLDER), "
    "or start with random weights (--from-scratch)"
)
REACH_SECONDS = 5.0
# Models of the shape of BERT-base, which transformers builds without asking anybody.
BERT_BASE = frozenset({"emilyalsentzer/Bio_ClinicalBERT", "google-bert/bert-base-uncased"})

_WEIGHT_FILE_NAMES = ("model.safetensors", "pytorch_model.bin", "model.pt", "model.pth")
_SHARDS = "model-*-of-*.safetensors"
# State dicts are often wrapped by the training loop that saved them.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# What transformers raises when a model is not there, incomplete, or of a type it does not know.
_NOT_LOADED = (OSError, ValueError, ImportError, KeyError)

# What layers of our own towers and decoders were called until 0.1: model folders hold these names.
_FORMER_NAMES = {
    "qkv": "attend",
    "proj": "merge",
    "fc1": "expand",
    "fc2": "shrink",
    "self_proj": "merge1",
    "cross_proj": "merge2",
    "key_value": "remember",
    "image_proj": "see",
    "pos_embed": "place",
    "query": "ask",
    "score": "weigh",
    "output": "merge",
    "word_pos_embed": "word_places",
    "rank_embed": "ranks",
    "retrieved_block": "read",
    "retrieved_norm": "read_norm",
}

State = dict[str, Tensor]
T = TypeVar("T")


def read_weights(source: Path | str) -> State:
    """Read a state dict from a safetensors or torch file, or from a folder holding one.

    Raises:
        WeightsError: there is no such file, or it holds no state dict that can be read without unpickling.
    """
    state: State = {}
    for path in _weights_files(Path(source)):
        state |= _read_file(path)
    return state


def _weights_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise WeightsError(f"there is no weights file {path}")
    for name in _WEIGHT_FILE_NAMES:
        if (path / name).is_file():
            return [path / name]
    if shards := sorted(path.glob(_SHARDS)):
        return shards
    raise WeightsError(f"folder {path} holds no weights: expected one of {', '.join(_WEIGHT_FILE_NAMES)}")


def _read_file(path: Path) -> State:
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


def load_state(module: nn.Module, state: State, *, source: str) -> None:
    """Copy weights into a module, wherever in the state dict the module's own names begin.

    The state may have more names (a classifier, another tower) and a common prefix (``module.``,
    ``base_model.model.``, ``bert.``), but every parameter and running statistic of the module must be in it.

    Raises:
        WeightsError: names are missing or shapes differ; the first few are named.
    """
    expected = module.state_dict()
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    prefix = _prefix_of(needed, state)
    stored = {name: _stored_as(prefix, name, state) for name in needed}
    found = {name: state[there] for name, there in stored.items() if there is not None}
    if missing := [name for name in needed if name not in found]:
        raise WeightsError(
            f"weights {source} do not fit: {len(missing)} of {len(needed)} tensors are missing, "
            f"{_first_few(missing)}"
        )
    if wrong := [name for name in needed if found[name].shape != expected[name].shape]:
        shapes = [
            f"{name} is {(*found[name].shape,)} and should be {(*expected[name].shape,)}" for name in wrong
        ]
        raise WeightsError(f"weights {source} do not fit: {_first_few(shapes)}")
    module.load_state_dict(found, strict=False)


def _prefix_of(needed: list[str], state: State) -> str:
    """The prefix under which most of the needed names stand."""
    probe = max(needed, key=len)
    prefixes = [
        name[: -len(end)] for end in (probe, _former_name(probe)) for name in state if name.endswith(end)
    ]
    return max(
        dict.fromkeys(prefixes),
        key=lambda prefix: sum(_stored_as(prefix, name, state) is not None for name in needed),
        default="",
    )


def _stored_as(prefix: str, name: str, state: Mapping[str, Tensor]) -> str | None:
    return next((key for key in (prefix + name, prefix + _former_name(name)) if key in state), None)


def _former_name(name: str) -> str:
    return ".".join(_FORMER_NAMES.get(part, part) for part in name.split("."))


def current_names(state: Mapping[str, Tensor], module: nn.Module) -> State:
    """A state dict with former names of a module's tensors replaced by its names of today."""
    renamed = dict(state)
    for name in module.state_dict():
        former = _former_name(name)
        if name not in state and former in renamed:
            renamed[name] = renamed.pop(former)
    return renamed


def _first_few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


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


def reachable(url: str) -> bool:
    """Whether anything answers at a URL: asked once, briefly, before a library that would retry for minutes.

    Any HTTP status counts as an answer, and so does a certificate this Python does not trust: the library
    that fetches may have a certificate bundle of its own.
    """
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=REACH_SECONDS):
            return True
    except HTTPError as error:
        error.close()
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False


def pretrained_text_tower(name: str, *, pooling: Pooling, offline: bool = False) -> TransformersTower:
    """Load a transformers text encoder from a folder or the hub, in float32.

    Raises:
        WeightsError: it is nowhere to be had, or its weights are incomplete.
    """
    config = pretrained_config(name, offline=offline)
    model = pretrained_model(name, text_model_class(config), config, part=encoder_of, offline=offline)
    return TransformersTower(model, pooling=pooling)


def unpretrained_text_tower(
    name: str, *, pooling: Pooling, vocab_size: int | None, offline: bool = False
) -> TransformersTower:
    """Build a transformers text encoder with random weights, in the shape of a folder or hub model.

    Of a hub model only the configuration is fetched, and for ``BERT_BASE`` models not even that. A vocabulary
    size of None is the configuration's.

    Raises:
        WeightsError: its configuration is nowhere to be had.
    """
    config: dict[str, Any] = {"model_type": "bert"}
    if name not in BERT_BASE:
        full_config = pretrained_config(name, offline=offline)
        config = full_config.to_diff_dict() | {"model_type": full_config.model_type}
    if vocab_size is not None:
        config["vocab_size"] = vocab_size
    return transformers_tower(config, pooling=pooling)


def pretrained_config(name: str, *, offline: bool = False) -> Any:  # noqa: ANN401 (transformers is untyped)
    """The transformers configuration of a folder or hub model.

    Raises:
        WeightsError: it is nowhere to be had, or needs code of its own.
    """

    def load(local: bool) -> Any:  # noqa: ANN401
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(name, local_files_only=local, trust_remote_code=False)

    return from_cache_or_hub(name, load, offline=offline)


def pretrained_model(
    name: str,
    auto_class: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    *,
    part: Callable[[Any], Any] = lambda model: model,
    offline: bool = False,
) -> Any:  # noqa: ANN401
    """A transformers model with all of its weights, in float32.

    transformers leaves a tensor that it does not find random, with a note. Here a prefix that a training loop
    put before the names is stripped, and anything missing of the ``part`` that is used is an error.

    Raises:
        WeightsError: it is nowhere to be had, or tensors are missing or have other shapes.
    """

    def load(local: bool) -> Any:  # noqa: ANN401
        try:
            model, report = auto_class.from_pretrained(
                name, config=config, local_files_only=local, trust_remote_code=False, output_loading_info=True
            )
        except RuntimeError:  # shapes differ
            model, report = None, {}
        return model, report

    model, report = from_cache_or_hub(name, load, offline=offline)
    used = part(model) if model is not None else None
    needed = set() if used is None else set(used.state_dict())
    missing = [key for key in report.get("missing_keys", ()) if any(key.endswith(own) for own in needed)]
    if used is None or missing or report.get("mismatched_keys"):
        with hub_session(offline=True):
            used = part(auto_class.from_config(config, trust_remote_code=False))
        load_state(used, read_weights(_local_folder(name)), source=name)
    return used.float().eval()


def _local_folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise WeightsError(f"model '{name}' lacks tensors, and its files are not in the hub's cache")
    return Path(config).parent


def pretrained_tokenizer(
    name: str, max_tokens: int, *, fixed_length: bool = False, offline: bool = False
) -> CaptionTokenizer:
    """The tokenizer of a transformers model, as the tokenizers library runs it.

    Args:
        name: a folder or a hub name.
        max_tokens: longest row of ids; fewer when the model reads fewer.
        fixed_length: pad every row to ``max_tokens``, for models that were trained so.
        offline: never reach for the hub.

    Raises:
        WeightsError: it is nowhere to be had, or has no form the tokenizers library runs.
    """

    def load(local: bool) -> Any:  # noqa: ANN401 (transformers is untyped)
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        options = {"local_files_only": local, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            # The model's own class runs in Python, but a tokenizer.json may lie beside it.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(name, **options)
        return tokenizer

    loaded = from_cache_or_hub(name, load, offline=offline)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None or loaded.pad_token_id is None:
        raise WeightsError(f"the tokenizer of '{name}' needs Python code to run: use another text encoder")
    # Without its files, transformers makes a tokenizer of a few special tokens.
    if backend.get_vocab_size(with_added_tokens=True) <= len(set(loaded.all_special_ids)) + 1:
        raise WeightsError(f"'{name}' has no tokenizer files: put its tokenizer.json beside its config.json")
    longest = min(max_tokens, loaded.model_max_length)
    backend.enable_truncation(longest)
    backend.enable_padding(
        pad_id=loaded.pad_token_id, pad_token=loaded.pad_token, length=longest if fixed_length else None
    )
    return CaptionTokenizer(backend)


def from_cache_or_hub(name: str, load: Callable[[bool], T], *, offline: bool) -> T:
    """Load what is on this machine already; only else, and only if allowed, ask the hub.

    ``load`` is called with True for "from this machine only".

    Raises:
        WeightsError: it is nowhere to be had, with the ways to go on, or it needs code of its own.
    """
    try:
        with hub_session(offline=True):
            return load(True)
    except _NOT_LOADED as error:
        _refuse_own_code(name, error)
        if Path(name).is_dir():
            raise WeightsError(
                f"folder {name} is not a model that transformers can load ({first_line(error)})"
            ) from error
        if offline or not _hub_reachable():
            raise WeightsError(
                f"model '{name}' is not on this machine, and the model hub is out of reach: {THE_WAYS}"
            ) from error
    try:
        with hub_session(offline=False):
            return load(False)
    except _NOT_LOADED as error:
        _refuse_own_code(name, error)
        raise WeightsError(f"the model hub gave no '{name}' ({first_line(error)}): {THE_WAYS}") from error


def _refuse_own_code(name: str, error: Exception) -> None:
    if "trust_remote_code" in str(error):
        raise WeightsError(
            f"model '{name}' needs its own Python code (config.json has auto_map), which medclip never runs: "
            "use a model of a type that transformers has built in"
        ) from error


def _hub_reachable() -> bool:
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT)


@contextmanager
def hub_session(*, offline: bool) -> Iterator[None]:
    """Keep transformers and huggingface_hub off the terminal and, offline, off the network.

    ``local_files_only`` is not enough: a list of user agents is fetched all the same.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    kept = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = offline or kept[0], True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = kept
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
