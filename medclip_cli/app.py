"""The command line: registers the commands and turns an error into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from medclip_cli import __version__
from medclip_cli.errors import INTERRUPTED, MedclipError
from medclip_cli.terminal import console

MARKUP: Final = "rich"
WRONG_USAGE = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One command, as `medclip --help` lists it."""

    panel: str  # heading of the help
    summary: str  # one line; its full help is the docstring of its function


# Each command lives in the module of its own name, with a function of that name, or a Typer `app` of several.
COMMANDS: Mapping[str, Entry] = {
    "clean": Entry("Prepare", "Read a data set, leave out unusable rows, write a corpus."),
    "train": Entry("Prepare", "Train encoders, a caption decoder and confidence on a corpus."),
    "corpus": Entry("Prepare", "Show, merge and export corpora."),
    "index": Entry("Prepare", "Embed a corpus into a collection; when run again, only what changed."),
    "caption": Entry("Use", "Caption images from the captions of similar known images."),
    "search": Entry("Use", "Find images by text, by an example image, or by both."),
    "embed": Entry("Use", "Embed images or texts as vectors in a Parquet or NumPy file."),
    "score": Entry("Evaluate", "Score the predictions of any system: BLEU, ROUGE-L, CIDEr."),
    "evaluate": Entry("Evaluate", "Score a collection on a held-out split, beside its baselines."),
    "collections": Entry("Manage", "List, show, drop, export, import and verify collections."),
    "models": Entry("Manage", "List the known models, show one."),
    "config": Entry("Manage", "Show the settings in force and their origins."),
    "paths": Entry("Manage", "Show where collections, models, caches and settings are stored."),
    "duplicates": Entry("Manage", "Find duplicate images in a corpus."),
    "doctor": Entry("Manage", "Check the installation, the models and the collections."),
    "demo": Entry("Manage", "Run the whole pipeline on a small generated data set."),
}


class LazyCommands(Mapping[str, Any]):
    """The commands by name; each is imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - typer and click name the command type differently
        """Import a command and build it."""
        if name not in COMMANDS:
            raise KeyError(name)
        module = import_module(f"medclip_cli.commands.{name}")
        group = getattr(module, "app", None)
        if group is None:
            group = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
            group.command(name, epilog=module.EXAMPLE)(getattr(module, name))
        command = typer.main.get_command(group)
        command.name = name
        _finish(command)
        return command

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the help."""
        return iter(COMMANDS)

    def __len__(self) -> int:
        """Count the commands."""
        return len(COMMANDS)


def _finish(command: Any) -> None:  # noqa: ANN401
    """Give a command, or those of a group, the options that all have, and show help as it was written."""
    inner = getattr(command, "commands", None)
    if inner is None:
        command.params += _verbosity_options()
    for one in (inner or {}).values():
        _finish(one)
    for parameter in command.params:
        parameter.help = (parameter.help or "").replace("[", r"\[")  # no bracket is markup
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""  # else typer says <bool>


def _verbosity_options() -> list[Any]:
    from medclip_cli.commands.options import set_verbosity, verbosity

    one = typer.Typer(add_completion=False)
    one.command()(verbosity)
    options = [option for option in typer.main.get_command(one).params if option.name != "help"]
    for option in options:
        option.expose_value, option.callback = False, set_verbosity
    return options


class MedclipGroup(TyperGroup):
    """The root: finds commands lazily, prints its help without loading any, and keeps the error boundary."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Take what typer gives, with our own commands."""
        super().__init__(*args, **kwargs)
        self.commands = LazyCommands()  # type: ignore[assignment]  # nobody adds a command later

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the help in plain text: drawing it with rich takes longer than the rest of the command."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        for panel in dict.fromkeys(entry.panel for entry in COMMANDS.values()):
            with formatter.section(panel):
                formatter.write_dl(
                    [(name, entry.summary) for name, entry in COMMANDS.items() if entry.panel == panel]
                )
        with formatter.section("Options"):
            records = (parameter.get_help_record(ctx) for parameter in self.get_params(ctx))
            formatter.write_dl([record for record in records if record])
        formatter.write("\nmedclip COMMAND --help says more, with an example.\n")

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Read the options before the command inside the error boundary."""
        with _one_line_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command inside the error boundary."""
        console.show_log()
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
        # The reader of the output has gone (`| head -1`): no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1, error)
    except MemoryError as error:
        _fail("out of memory: use a smaller --batch-size, or close other programs", 1, error)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # medclip, or a group, without a command
            print(error.format_message())  # type: ignore[attr-defined]  # noqa: T201
            raise typer.Exit(0) from None
        if hasattr(error, "format_message"):  # typer keeps the classes of its usage errors to itself
            _fail(_usage_message(error), WRONG_USAGE, error)
        if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
            raise  # typer's own way of ending a command
        # The message of an unforeseen error may hold a patient's words: only its type is shown.
        name = type(error).__name__
        _fail(f"internal error ({name}), please report it: --debug shows the traceback", 1, error)


def _usage_message(error: Any) -> str:  # noqa: ANN401
    """What is wrong with the command line, and where to read what would be right."""
    message = error.format_message().rstrip(".")
    refused = getattr(error.__cause__, "errors", None)  # of pydantic, which reads the values of options
    if refused is not None and error.param is not None:
        name = max(error.param.opts, key=len) if error.param.opts else error.param.name
        said, value = refused()[0]["msg"].partition(", unable")[0].rstrip("."), refused()[0]["input"]
        should, wrong = "Input should be", "Value error, "
        if said.startswith(should):
            message = f"{name} must be{said.removeprefix(should)}, not {value!r}"
        elif said.startswith(wrong):
            message = f"{name} {said.removeprefix(wrong)}"
    command = error.ctx.command_path if error.ctx else "medclip"
    see = " See" if message.endswith("?") else ": see"
    return f"{message[:1].lower()}{message[1:]}{see} {command} --help"


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
    cls=MedclipGroup,
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
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
    """Search and caption your own medical images.

    Each command writes what the next one reads: clean, train, index, then caption and search.
    medclip is a research tool, not a medical device.
    """
