"""What a data set says that no field of a corpus takes: a line each, logged and kept for ``report.json``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from medclip_cli.progress import log

# A variable of the context and no argument: readers of tables, lists and folders have something to say, and
# nothing between them and the cleaning has.
_NOTED: ContextVar[list[str] | None] = ContextVar("noted", default=None)
_NAMED_AT_MOST = 8


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect the notes of what is read inside, each once."""
    lines: list[str] = []
    token = _NOTED.set(lines)
    try:
        yield lines
    finally:
        _NOTED.reset(token)


def note(line: str) -> None:
    """Say something of the data set, once a cleaning."""
    lines = _NOTED.get()
    if lines is not None and line in lines:
        return
    log.info(line)
    if lines is not None:
        lines.append(line)


def named(counts: Mapping[str, int] | Iterable[tuple[str, int]], what: str = "row") -> str:
    """Return names with their counts, for one line.

    >>> named({"eval": 10, "7": 1})
    'eval (10 rows), 7 (1 row)'
    """
    pairs = list(dict(counts).items())
    shown = [
        f"{name} ({count:,} {what}{'' if count == 1 else 's'})" for name, count in pairs[:_NAMED_AT_MOST]
    ]
    more = len(pairs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
