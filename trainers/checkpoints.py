"""The work folder of a run: a checkpoint to resume it from, and ``training.jsonl``, a line for each epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from encoders.errors import CheckpointError, OptionsError
from trainers.data import TrainingPair
from trainers.options import CaptioningOptions, ContrastiveOptions

CHECKPOINT_FILE = "checkpoint.pt"
# What may differ between a run and its resumption without changing a weight on the same machine.
_CHANGEABLE_OPTIONS = frozenset(
    {"force", "resume", "offline", "device", "checkpoint_steps", "time_limit_minutes"}
)


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write plain values and tensors into a run's work folder, or leave the checkpoint before."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{CHECKPOINT_FILE}.new"
    with fresh.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / CHECKPOINT_FILE)


def read_checkpoint(folder: Path, options: Mapping[str, Any], data: str) -> dict[str, Any]:
    """Read the checkpoint that an interrupted run left in its work folder.

    Options and the fingerprint of its pairs must be those of the run that wants to go on, in what matters.

    Raises:
        CheckpointError: there is none, it cannot be read, or it belongs to another run.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        raise CheckpointError(f"there is no run to resume in {folder}: start one without resuming")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged file makes it raise
        raise CheckpointError(f"{path} cannot be read: force a new run") from error
    before, options = (_with_new_names(values) for values in (state["options"], options))
    for name in sorted((before.keys() | options.keys()) - _CHANGEABLE_OPTIONS):
        if before.get(name) != options.get(name):
            raise CheckpointError(
                f"the run in {folder} had {name} = {before.get(name)}, not {options.get(name)}: "
                "give the same options"
            )
    if state["data"] != data:
        raise CheckpointError(f"the pairs changed since the run in {folder} began: force a new run")
    return state


def refuse_interrupted_run(folder: Path, options: ContrastiveOptions | CaptioningOptions) -> None:
    """Refuse to start anew in the work folder of an interrupted run, unless that is forced.

    Raises:
        OptionsError: there is one, and it is neither resumed nor forced away.
    """
    if (folder / CHECKPOINT_FILE).exists() and not (options.resume or options.force):
        raise OptionsError(f"{folder} holds an interrupted run: resume it, or force a new one")


def _with_new_names(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options in which the preset `original` does not have the name it once had."""
    preset = options.get("preset")
    if isinstance(preset, dict) and preset.get("name") == "seed":
        return {**options, "preset": {**preset, "name": "original"}}
    return options


def data_fingerprint(*parts: Sequence[TrainingPair]) -> str:
    """A hash over ids, captions, groups and labels of pairs, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        for pair in part:
            fields = (pair.id, pair.text, pair.group, *pair.labels, *pair.other_texts)
            digest.update("\x1f".join(fields).encode("utf-8", "surrogatepass") + b"\x1e")
        digest.update(b"\x1d")
    return digest.hexdigest()


JOURNAL_FILE = "training.jsonl"


class Journal:
    """Appends events to a file, each on disk before the run goes on."""

    def __init__(self, path: Path, *, keep_bytes: int = 0) -> None:
        """Start a new file, or go on with so many bytes of an old one: what it held at the checkpoint."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(keep_bytes)

    def write(self, event: str, content: Mapping[str, Any]) -> None:
        """Append one event."""
        line = json.dumps({"event": event, **content}, ensure_ascii=False, default=str)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def content(self) -> bytes:
        """Everything written so far."""
        return self._path.read_bytes()


def plain_options(options: ContrastiveOptions | CaptioningOptions) -> dict[str, Any]:
    """Options as plain values that JSON can hold; those left at None are left out."""
    values = asdict(options)
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if value is not None
    }
