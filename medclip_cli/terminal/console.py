"""Two streams: data on stdout, everything said about it on stderr."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from functools import cache
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from medclip_cli.progress import counted as counted

if TYPE_CHECKING:
    from rich.console import Console


_COMMAND = "medclip "  # what holds one stays whole, to be copied


@dataclass(slots=True)
class Verbosity:
    """How much is said on stderr; set once by the flags of the command."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False


verbosity = Verbosity()


@cache
def stdout() -> Console:
    """Return the console for data; it honours ``NO_COLOR`` and knows whether it is a terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=False)


@cache
def stderr() -> Console:
    """Return the console for progress, notes and errors."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, stderr=True)


def can_animate() -> bool:
    """Whether something may move on stderr: it is a terminal that can go back on a line."""
    return stderr().is_terminal and not stderr().is_dumb_terminal


def forget_streams() -> None:
    """Drop the cached consoles; tests call this after replacing ``sys.stdout``."""
    stdout.cache_clear()
    stderr.cache_clear()


def out(line: str) -> None:
    """Print one line of data; a line feed in it, as of a file name, is made visible."""
    sys.stdout.write(printable(line).replace("\n", "\\n") + "\n")


def prose(text: str) -> None:
    """Print a sentence of data: folded between words on a terminal, one line otherwise."""
    if not stdout().is_terminal:
        out(text)
        return
    line = printable(text).replace("\n", "\\n")
    sys.stdout.write(_folded(line, stdout().width) + "\n")


def note(message: str) -> None:
    """Say something useful to know, unless ``--quiet``."""
    if verbosity.quiet:
        return
    text = printable(message)
    if sys.stderr.isatty() and _COMMAND not in text:
        width = get_terminal_size().columns
        text = "\n".join(_folded(line, width) for line in text.split("\n"))
    print(text, file=sys.stderr)  # noqa: T201


def _folded(line: str, width: int) -> str:
    """Part a line between words where the terminal would do so anywhere."""
    from textwrap import wrap

    return "\n".join(wrap(line, width, break_on_hyphens=False))


def detail(message: str) -> None:
    """Print something, with ``--verbose`` only."""
    if verbosity.verbose and not verbosity.quiet:
        print(printable(message), file=sys.stderr)  # noqa: T201


def warn(message: str) -> None:
    """Say something that must not be missed, even with ``--quiet``."""
    # A file name may hold a line feed; what looks like a second message must be ours.
    line = printable(f"medclip: {message}").replace("\n", "\\n")
    print(line, file=sys.stderr)  # noqa: T201


def printable(text: str) -> str:
    """Return the text with control characters and lone surrogates made visible.

    A file name or a caption comes from outside; it must not move the cursor, and it must be encodable.
    """
    if text.isprintable():
        return text
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


class LogHandler(logging.Handler):
    """Shows what the library logs: warnings always, notes unless ``--quiet``, details with ``--verbose``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record at the level it was logged with."""
        say = (
            warn if record.levelno >= logging.WARNING else note if record.levelno >= logging.INFO else detail
        )
        say(record.getMessage())


def show_log() -> None:
    """Send what the library logs to stderr from now on."""
    logger = logging.getLogger("medclip")
    logger.handlers = [LogHandler()]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
