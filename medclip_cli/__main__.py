"""`medclip` and `python -m medclip_cli`."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from medclip_cli.errors import INTERRUPTED


def main() -> None:
    """Run the command line."""
    try:
        _run()
    except KeyboardInterrupt:  # while medclip itself is read; a command says more
        sys.stderr.write("medclip: interrupted\n")
        sys.exit(INTERRUPTED)


def _run() -> None:
    _replace_closed_streams()
    from medclip_cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal of another encoding shows what it lacks as \\u escapes, and fails at nothing.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as ended:
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            raise KeyboardInterrupt from None  # while the command line was read: typer says nothing
        # rich and typer take a reader that has gone (`--help | head -1`) for a failure; it is none.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
    finally:
        _flush_or_forget()


def _replace_closed_streams() -> None:
    """Give a stream that was closed (`2>&-`) somewhere to write: Python has None there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def _flush_or_forget() -> None:
    """Write out what is buffered; where the reader has gone (`| head -1`), nobody misses it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
