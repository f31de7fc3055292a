"""Runs medclip in this process as a shell would: arguments and stdin in, exit code and streams out."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

from medclip_cli.terminal import console


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and both of its streams."""

    code: int
    out: str
    err: str

    @property
    def records(self):
        """The JSON Lines of stdout; raises where a line is no JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def answer(self):
        """The one JSON document of stdout."""
        return json.loads(self.out)


def run_here(arguments, stdin=b"", environment=None):
    """Run a command; its streams are as Python opens them on pipes, in UTF-8."""
    out, err = io.BytesIO(), io.BytesIO()
    # Data must be UTF-8, while what is said of it is made so.
    streams = (
        io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8", errors="surrogateescape"),
        io.TextIOWrapper(out, encoding="utf-8", errors="strict", write_through=True),
        io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace", write_through=True),
    )
    code = run_on(streams, arguments, environment)
    streams[1].detach(), streams[2].detach()
    return Finished(code, out.getvalue().decode(), err.getvalue().decode())


def run_on(streams, arguments, environment=None):
    """Run a command on these stdin, stdout and stderr; returns its exit code."""
    from medclip_cli.app import app

    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    forget()
    try:
        with _environment(environment or {}), _ordinary_warnings():
            app(list(map(str, arguments)), prog_name="medclip")
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        forget()
    return 0


def forget():
    """Put back what a command sets for the life of its process."""
    console.verbosity.quiet = console.verbosity.verbose = console.verbosity.debug = False
    console.forget_streams()
    logger = logging.getLogger("medclip")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@contextmanager
def _environment(variables):
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _ordinary_warnings():
    """Show warnings as Python does: here they are no errors."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        yield
