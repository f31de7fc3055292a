"""``training.jsonl``: a line at the start, one for each epoch, one at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

FILE_NAME = "training.jsonl"


class Journal:
    """Appends events to a file, each on disk before the run goes on."""

    def __init__(self, path: Path) -> None:
        """Start a new file."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def write(self, event: str, content: Mapping[str, Any]) -> None:
        """Append one event."""
        line = json.dumps({"event": event, **content}, ensure_ascii=False, default=str)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def content(self) -> bytes:
        """Everything written so far."""
        return self._path.read_bytes()


def plain_options(options: Any) -> dict[str, Any]:  # noqa: ANN401 - any options dataclass
    """Options as plain values that JSON can hold; those left at None are left out."""
    if not is_dataclass(options):
        raise TypeError(f"{options!r} is no dataclass")
    values = asdict(options)  # type: ignore[arg-type]  # is_dataclass also admits classes
    named = {item.name: values[item.name] for item in fields(options)}
    return {name: _plain(value) for name, value in named.items() if value is not None}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
