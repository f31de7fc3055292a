"""Ctrl-C between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, the first SIGINT or SIGTERM only asks to stop; the run does so at a safe place.

    A second signal interrupts at once. Outside the main thread, where Python takes no signals, nothing
    changes.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._asked = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    @property
    def asked(self) -> bool:
        """Whether someone asked to stop."""
        return self._asked

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Turn a KeyboardInterrupt raised inside into a wish to stop at the next safe place."""
        try:
            yield
        except KeyboardInterrupt:
            self._asked = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
