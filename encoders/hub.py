"""Pretrained transformers models: from a folder, the local cache or the Hugging Face hub (torch)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from encoders.errors import WeightsError, first_line
from encoders.network import reachable
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import Pooling
from encoders.text import TransformersTower, encoder_of, text_model_class, transformers_tower
from encoders.weights import THE_WAYS

# Models of the shape of BERT-base, which transformers builds without asking anybody.
BERT_BASE = frozenset({"emilyalsentzer/Bio_ClinicalBERT", "google-bert/bert-base-uncased"})

# What transformers raises when a model is not there, incomplete, or of a type it does not know.
_NOT_LOADED = (OSError, ValueError, ImportError, KeyError)

T = TypeVar("T")


def pretrained_text_tower(name: str, *, pooling: Pooling, offline: bool = False) -> TransformersTower:
    """Load a transformers text encoder, in float32.

    Args:
        name: a folder or a hub name.
        pooling: see ``TransformersTower``.
        offline: never reach for the hub.

    Raises:
        WeightsError: it is nowhere to be had, or its weights are incomplete.
    """

    def load(local: bool) -> tuple[Any, dict[str, Any]]:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(name, local_files_only=local)
        loaded: tuple[Any, dict[str, Any]] = text_model_class(config).from_pretrained(
            name, config=config, local_files_only=local, output_loading_info=True
        )
        return loaded

    model, report = from_cache_or_hub(name, load, offline=offline)
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

    def load(local: bool) -> dict[str, Any]:
        from transformers import AutoConfig

        full_config = AutoConfig.from_pretrained(name, local_files_only=local)
        shape: dict[str, Any] = full_config.to_diff_dict()
        return shape | {"model_type": full_config.model_type}

    config: dict[str, Any] = {"model_type": "bert"}
    if name not in BERT_BASE:
        config = from_cache_or_hub(name, load, offline=offline)
    if vocab_size is not None:
        config["vocab_size"] = vocab_size
    return transformers_tower(config, pooling=pooling)


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

        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            # The model's own class runs in Python, but a tokenizer.json may lie beside it.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(name, local_files_only=local)
        return tokenizer

    loaded = from_cache_or_hub(name, load, offline=offline)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None or loaded.pad_token_id is None:
        raise WeightsError(f"the tokenizer of '{name}' needs Python code to run: use another text encoder")
    longest = min(max_tokens, loaded.model_max_length)
    backend.enable_truncation(longest)
    backend.enable_padding(
        pad_id=loaded.pad_token_id, pad_token=loaded.pad_token, length=longest if fixed_length else None
    )
    return CaptionTokenizer(backend)


def from_cache_or_hub(name: str, load: Callable[[bool], T], *, offline: bool) -> T:
    """Load what is on this machine already; only else, and only if allowed, ask the hub.

    Args:
        name: a folder or a hub name.
        load: called with True for "from this machine only".
        offline: never reach for the hub.

    Raises:
        WeightsError: it is nowhere to be had, with the ways to go on.
    """
    with quiet_transformers():
        try:
            return load(True)
        except _NOT_LOADED as error:
            if Path(name).is_dir():
                raise WeightsError(
                    f"folder {name} is no model transformers can load ({first_line(error)})"
                ) from error
            if offline or not _hub_reachable():
                raise WeightsError(
                    f"text encoder '{name}' is not on this machine, and the model hub is out of reach: "
                    f"{THE_WAYS}"
                ) from error
        try:
            return load(False)
        except _NOT_LOADED as error:
            raise WeightsError(f"the model hub gave no '{name}' ({first_line(error)}): {THE_WAYS}") from error


def _hub_reachable() -> bool:
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT)


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
