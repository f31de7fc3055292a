"""Options that mean the same in every command that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclip_cli.commands import completion
from medclip_cli.terminal import console

_INPUT = "Input"
_QUERY = "Query"
_OUTPUT = "Output"
_MACHINE = "Machine"


def verbosity(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print nothing but warnings and errors on stderr.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print more about what is done.", rich_help_panel=_OUTPUT),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show a traceback when something fails.", rich_help_panel=_OUTPUT),
    ] = False,
) -> None:
    """How much a command says: options of every command, added by `app`, which no command sees."""


def set_verbosity(_: Any, parameter: Any, value: bool) -> bool:  # noqa: ANN401 - typer's own types
    """Keep what one of the options of `verbosity` says."""
    if value:
        setattr(console.verbosity, parameter.name, True)
    return value


Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Also write a self-contained HTML page with thumbnails, readable by you alone.",
        rich_help_panel=_OUTPUT,
    ),
]
Pictures = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        "--pictures",
        help="Draw the images in the terminal: auto where it can, always also into a pipe.",
        rich_help_panel=_OUTPUT,
    ),
]
JsonOutput = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=_OUTPUT)
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output folder if it exists.")]
CollectionName = Annotated[
    str | None,
    typer.Option(
        "--collection",
        "-c",
        help="The collection. [default: the only one, or 'default']",
        autocompletion=completion.collections,
        rich_help_panel=_QUERY,
    ),
]
ModelPath = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="A model folder. [default: the one the collection was made with]",
        autocompletion=completion.model_folders,
        rich_help_panel=_QUERY,
    ),
]
Top = Annotated[
    int, typer.Option("--top", "-k", min=1, max=1000, help="Number of neighbours.", rich_help_panel=_QUERY)
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="FIELD=VALUE",
        rich_help_panel=_QUERY,
        help="Keep only matching images: FIELD=VALUE, FIELD!=VALUE, commas for any-of. Repeatable.",
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", help="Leave out neighbours with a lower score.", rich_help_panel=_QUERY),
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="A Qdrant server that has the collections; its key is read from MEDCLIP_QDRANT_API_KEY. "
        "[default: none, they are kept under MEDCLIP_HOME]",
        rich_help_panel=_QUERY,
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option(
        "--offline", help="Never use the network; fail instead. [default: off]", rich_help_panel=_MACHINE
    ),
]
LockTimeout = Annotated[
    float | None,
    typer.Option(
        "--lock-timeout",
        min=0,
        metavar="SECONDS",
        help="How long to wait for a collection that is busy. [default: 10]",
        rich_help_panel=_QUERY,
    ),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="FILE",
        help="Read image paths from a file, one per line; '-' is stdin.",
        rich_help_panel=_INPUT,
    ),
]
NulSeparated = Annotated[
    bool,
    typer.Option(
        "-0",
        "--null",
        help="Paths in lists end with NUL, as find -print0 writes them.",
        rich_help_panel=_INPUT,
    ),
]
StdinImage = Annotated[
    bool, typer.Option("--stdin-image", help="Read one image from stdin.", rich_help_panel=_INPUT)
]
