"""How long work tells its caller how far it is, and what it has to say meanwhile.

Library functions never print. They call `OnProgress` where work takes long, and write notes to the logger
``medclip``: `info` for what is good to know, `warning` for what must not be missed, `debug` for details. The
command line shows both on stderr; a notebook shows what it is set to show.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("medclip")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        stage: what is being done, as a few words: ``Embedding``.
        done: items that are done, failed ones included.
        total: how many there are; None where nobody knows.
        failed: how many of those done failed.
        unit: what the items are called.
    """

    stage: str
    done: int = 0
    total: int | None = None
    failed: int = 0
    unit: str = "images"


OnProgress = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Say nothing: the default of every `on_progress`."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with what it counts: 1 image, 1,653 images."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
