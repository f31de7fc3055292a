"""JSON on stdout: one object for one answer, JSON Lines for answers over many inputs."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from typing import Any

_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029]")


def write(answer: object) -> None:
    """Print one JSON document: indented on a terminal, on one line otherwise."""
    _print(answer, 2 if sys.stdout.isatty() else None)


def write_line(record: object) -> None:
    """Print one record of a JSON Lines stream and flush it, so that a reader gets it at once."""
    _print(record, None)


def _print(value: object, indent: int | None) -> None:
    # Where stdout cannot hold every character, JSON has escapes for all of them.
    is_utf8 = "utf" in (sys.stdout.encoding or "utf-8").lower()
    text = json.dumps(_plain(value), ensure_ascii=not is_utf8, indent=indent, allow_nan=False)
    # Legal in JSON as they are, but a terminal obeys them, and some readers of lines take them for ends.
    text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    # A file name that is not UTF-8 arrives as lone surrogates, which cannot be written as UTF-8.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Turn NumPy scalars, paths and tuples into what JSON knows; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
