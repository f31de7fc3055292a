"""``training.jsonl``: a line at the start, one for each epoch, one at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainers.captioning_options import CaptioningOptions
from trainers.options import ContrastiveOptions

FILE_NAME = "training.jsonl"


class Journal:
    """Appends events to a file, each on disk before the run goes on."""

    def __init__(self, path: Path, *, keep_bytes: int = 0) -> None:
        """Start a new file, or go on with an old one.

        Args:
            path: the file.
            keep_bytes: how much of an old one stands: what it held at the checkpoint.
        """
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
