"""Options that mean the same in every command that takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclip_cli.commands import completion
from medclip_cli.terminal import console


def panel(name: str | None) -> Callable[..., Any]:
    """Make options of one panel of the help: from their text, their flags, and what else typer takes."""
    return lambda text, *flags, **more: typer.Option(*flags, help=text, rich_help_panel=name, **more)


def argument(metavar: str, text: str, **more: Any) -> Any:  # noqa: ANN401 - as typer types it
    """Make an argument, from its name in the usage line, its text, and what else typer takes."""
    return typer.Argument(metavar=metavar, help=text, **more)


option, query, scoring = panel(None), panel("Query"), panel("Scoring")
input_, output, machine = panel("Input"), panel("Output"), panel("Machine")


def verbosity(
    quiet: Annotated[
        bool, output("Print nothing but warnings and errors on stderr.", "--quiet", "-q")
    ] = False,
    verbose: Annotated[bool, output("Print more about what is done.", "--verbose", "-v")] = False,
    debug: Annotated[bool, output("Show a traceback when something fails.", "--debug")] = False,
) -> None:
    """How much a command says: options of every command, added by `app` and not passed to it."""


def set_verbosity(_: Any, parameter: Any, value: bool) -> bool:  # noqa: ANN401 - typer's own types
    """Keep what one of the options of `verbosity` says."""
    if value:
        setattr(console.verbosity, parameter.name, True)
    return value


Corpus = Annotated[
    Path, argument("CORPUS", "A corpus made by medclip clean, or a folder of images with captions.")
]
CleanedCorpus = Annotated[Path, argument("CORPUS", "A corpus made by medclip clean.")]
Images = Annotated[
    list[str] | None, argument("IMAGE...", "Image files, folders or patterns; '-' reads paths from stdin.")
]
CorpusName = Annotated[str | None, option("The corpus's name. [default: that of the --out folder]", "--name")]
CorpusOut = Annotated[Path, option("The corpus folder to make.", "--out", "-o")]
Html = Annotated[
    Path | None,
    output(
        "Also write a self-contained HTML page with thumbnails, readable by you alone.",
        "--html",
        metavar="FILE",
    ),
]
Pictures = Annotated[
    Literal["auto", "always", "never"],
    output("Draw the images in the terminal: auto where it can, always also into a pipe.", "--pictures"),
]
JsonOutput = Annotated[bool, output("Print JSON instead of a table.", "--json")]
Force = Annotated[bool, option("Replace the output folder if it exists.", "--force")]
CollectionName = Annotated[
    str | None,
    query(
        "The collection. [default: the only one, or 'default']",
        "--collection",
        "-c",
        autocompletion=completion.collections,
    ),
]
ModelPath = Annotated[
    Path | None,
    query(
        "A model folder. [default: the one the collection was made with]",
        "--model",
        "-m",
        autocompletion=completion.model_folders,
    ),
]
Top = Annotated[int, query("Number of neighbours.", "--top", "-k", min=1, max=1000)]
Where = Annotated[
    list[str] | None,
    query(
        "Keep only matching images: FIELD=VALUE, FIELD!=VALUE, commas for any-of. Repeatable.",
        "--where",
        "-w",
        metavar="FIELD=VALUE",
    ),
]
MinScore = Annotated[float | None, query("Leave out neighbours with a lower score.", "--min-score")]
ServerUrl = Annotated[
    str | None,
    query(
        "A Qdrant server that has the collections; its key is read from MEDCLIP_QDRANT_API_KEY. "
        "[default: none, they are kept under MEDCLIP_HOME]",
        "--url",
    ),
]
Offline = Annotated[bool | None, machine("Never use the network; fail instead. [default: off]", "--offline")]
LockTimeout = Annotated[
    float | None,
    query(
        "How long to wait for a collection that is busy. [default: 10]",
        "--lock-timeout",
        min=0,
        metavar="SECONDS",
    ),
]
FilesFrom = Annotated[
    str | None,
    input_("Read image paths from a file, one per line; '-' is stdin.", "--files-from", metavar="FILE"),
]
NulSeparated = Annotated[
    bool, input_("Paths in lists end with NUL, as find -print0 writes them.", "-0", "--null")
]
StdinImage = Annotated[bool, input_("Read one image from stdin.", "--stdin-image")]
Meteor = Annotated[
    bool | None,
    scoring(
        "METEOR 1.5, which takes seconds to start. [default: where the extra `meteor` is installed]",
        "--meteor/--no-meteor",
    ),
]
Resamples = Annotated[
    int,
    scoring(
        "Bootstrap resamples of the 95 % intervals and the tests; 0 leaves the intervals out.",
        min=0,
        max=100_000,
    ),
]
Seed = Annotated[int, scoring("Random seed of the bootstrap.")]
