"""Registers the commands, and is the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medclip_cli import __version__
from medclip_cli.commands import caption, clean, demo, doctor, evaluate, index, score, search, train
from medclip_cli.errors import MedclipError
from medclip_cli.rendering import console

INTERRUPTED = 130  # what a shell expects of a program ended by Ctrl-C: 128 + SIGINT


class OneLineErrors(TyperGroup):
    """Runs a command and turns whatever it raises into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer and click name the context type differently
        """Run the command inside the error boundary."""
        with _one_line_errors():
            return super().invoke(ctx)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except MedclipError as error:
        _fail(str(error), error.exit_code, error)
    except KeyboardInterrupt:
        console.warn("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output (`| head -1`) has seen enough: that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1, error)
    except MemoryError as error:
        _fail("out of memory: use a smaller --batch-size, or close other programs", 1, error)


def _fail(message: str, exit_code: int, error: BaseException) -> None:
    if console.verbosity.debug:
        raise error
    console.warn(" ".join(message.split()))
    raise typer.Exit(exit_code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        console.out(f"medclip {__version__}")
        raise typer.Exit()


app = typer.Typer(
    name="medclip",
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Local variables may hold patients' words: they never reach a traceback.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def medclip(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Ask your own medical images: caption a scan, find images by words, and score the answers.

    Each command makes what the next one reads: clean, train, index, then caption and search.
    medclip is a research tool, not a medical device.
    """


_PREPARE = "Prepare"
_ASK = "Ask"
_JUDGE = "Judge"
_HELP = "Look around"

app.command(rich_help_panel=_PREPARE, epilog=clean.EXAMPLE)(clean.clean)
app.add_typer(train.app, name="train", rich_help_panel=_PREPARE)
app.command(rich_help_panel=_PREPARE, epilog=index.EXAMPLE)(index.index)
app.command(rich_help_panel=_ASK, epilog=caption.EXAMPLE)(caption.caption)
app.command(rich_help_panel=_ASK, epilog=search.EXAMPLE)(search.search)
app.command(rich_help_panel=_JUDGE, epilog=score.EXAMPLE)(score.score)
app.command(rich_help_panel=_JUDGE, epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command(rich_help_panel=_HELP, epilog=doctor.EXAMPLE)(doctor.doctor)
app.command(rich_help_panel=_HELP, epilog=demo.EXAMPLE)(demo.demo)
