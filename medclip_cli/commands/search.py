"""`medclip search`: images by words, by example images, or by both."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.captioning import session
from medclip_cli.commands import inputs
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    Html,
    JsonOutput,
    LockTimeout,
    MinScore,
    ModelPath,
    Offline,
    Pictures,
    Quiet,
    ServerUrl,
    Top,
    Verbose,
    Where,
)
from medclip_cli.commands.search_output import SearchOutput
from medclip_cli.errors import SOME_FAILED, UsageError
from medclip_cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from medclip_cli.models import Model
    from medclip_cli.vector_index.base import Query, VectorIndex

EXAMPLE = "Example: medclip search 'sagittal MR of the spine' -k 5 --where modality=MR"
_RANKING = "Ranking"
_LIKE = "Example images"


def search(
    words: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="What to look for; '-' reads texts from stdin, one a line."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            "-i",
            metavar="FILE",
            help="Look for images like this one. Repeatable.",
            rich_help_panel=_LIKE,
        ),
    ] = None,
    unlike: Annotated[
        list[Path] | None,
        typer.Option(
            "--not-image",
            metavar="FILE",
            help="... and unlike this one. Repeatable.",
            rich_help_panel=_LIKE,
        ),
    ] = None,
    combine: Annotated[
        Literal["mean", "rrf"],
        typer.Option(
            help="Several examples: look near their mean, or fuse a ranking of each.", rich_help_panel=_LIKE
        ),
    ] = "mean",
    mode: Annotated[
        Literal["hybrid", "dense", "words"],
        typer.Option(
            help="dense: by meaning; words: by the words of the captions; hybrid: both, fused by rank.",
            rich_help_panel=_RANKING,
        ),
    ] = "hybrid",
    fusion: Annotated[
        Literal["rrf", "dbsf"],
        typer.Option(help="Fuse by reciprocal rank or by normalised score.", rich_help_panel=_RANKING),
    ] = "rrf",
    diverse: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Prefer answers unlike each other: 0 not at all, 1 above all.",
            rich_help_panel=_RANKING,
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare with every vector; slower.", rich_help_panel=_RANKING),
    ] = False,
    exclude_groups: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-group",
            metavar="GROUP",
            help="Leave out this patient or case. Repeatable.",
            rich_help_panel="Asking",
        ),
    ] = None,
    top: Top = 10,
    where: Where = None,
    min_score: MinScore = None,
    collection: CollectionName = None,
    model: ModelPath = None,
    url: ServerUrl = None,
    offline: Offline = None,
    lock_timeout: LockTimeout = None,
    html: Html = None,
    pictures: Pictures = "auto",
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find known images by words, by example images, or by both."""
    from medclip_cli.captioning.example_vectors import with_examples
    from medclip_cli.pages.answers import open_gallery
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.base import Query, parse_condition

    settings = load_settings(
        {
            "collection": collection,
            "model": model,
            "qdrant_url": url,
            "lock_timeout_seconds": lock_timeout,
            "offline": offline,
        }
    )
    query = Query(
        mode=mode,
        top=top,
        where=tuple(parse_condition(text) for text in where or ()),
        min_score=min_score,
        exclude_groups=frozenset(exclude_groups or ()),
        exact=exact,
        fusion=fusion,
        diversity=diverse,
    )
    words, like, unlike = (words or "").strip(), images or [], unlike or []
    if not (words or like or unlike):
        raise UsageError("nothing to look for: give words, or --image FILE")
    several = words == inputs.STDIN
    texts = inputs.stdin_lines() if several else [words]
    with session.open_collection(settings) as index:
        info = index.info
        open_model = cache(lambda: session.open_matching_model(info, settings.model))
        query = with_examples(query, like, unlike, combine, open_model)
        source = f"model {info.model_name}, collection {info.name}"
        with open_gallery(html, f"Found in {info.name}", source) as add:
            output = SearchOutput(info, [*like, *unlike], several, as_json, pictures, add if html else None)
            answered, failed = _answer(texts, query, index, open_model, output)
    if html is not None:
        console.note(f"wrote {html}")
    if several and answered and not as_json:
        console.note(session.DISCLAIMER)
    if failed:
        raise typer.Exit(SOME_FAILED if answered else 1)


def _answer(
    texts: Iterable[str],
    query: Query,
    index: VectorIndex,
    open_model: Callable[[], Model],
    output: SearchOutput,
) -> tuple[int, int]:
    """Answer each text as it comes; returns how many could be asked, and how many could not.

    Raises:
        UsageError: the only text there is cannot be asked.
    """
    from medclip_cli.captioning.example_vectors import with_words

    answered = failed = 0
    for words in texts:
        try:
            asked = with_words(query, words, open_model) if words else query
        except UsageError as error:
            if not output.several:
                raise
            output.failure(words, str(error))
            failed += 1
            continue
        output.answer(words, index.query([asked])[0])
        answered += 1
    return answered, failed
