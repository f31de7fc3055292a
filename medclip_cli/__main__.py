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
    except KeyboardInterrupt:  # while medclip is imported; a command says more
        sys.stderr.write("medclip: interrupted\n")
        sys.exit(INTERRUPTED)


def _run() -> None:
    _replace_closed_streams()
    from medclip_cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal with another encoding shows characters it lacks as \\u escapes.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as ended:
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            raise KeyboardInterrupt from None  # while the command line was parsed: typer prints nothing
        # rich and typer exit with an error when the reader has gone (`--help | head -1`): it is none.
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
    """Write out what is buffered; nothing is lost where the reader has gone (`| head -1`)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
