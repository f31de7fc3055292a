"""`medclip search`: images by words, by example images, or by both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from medclip_cli.commands import asking, seeing
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
from medclip_cli.rendering import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.records import Neighbour
    from medclip_cli.vector_index.base import CollectionInfo

EXAMPLE = "Example: medclip search 'sagittal MR of the spine' -k 5 --where modality=MR"
_RANKING = "Ranking"
_LIKE = "Example images"


def search(
    words: Annotated[Optional[str], typer.Argument(metavar="TEXT", help="What to look for.")] = None,  # noqa: UP045
    images: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--image",
            "-i",
            metavar="FILE",
            help="Look for images like this one. Repeatable.",
            rich_help_panel=_LIKE,
        ),
    ] = None,
    unlike: Annotated[
        Optional[list[Path]],  # noqa: UP045
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
        Optional[float],  # noqa: UP045
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
        Optional[list[str]],  # noqa: UP045
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
    from medclip_cli.commands.example_vectors import with_vectors
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
        words=words,
        top=top,
        where=tuple(parse_condition(text) for text in where or ()),
        min_score=min_score,
        exclude_groups=frozenset(exclude_groups or ()),
        exact=exact,
        fusion=fusion,
        diversity=diverse,
    )
    with asking.open_collection(settings) as index:
        query = with_vectors(query, images or [], unlike or [], combine, index.info, settings.model)
        found, info = index.query([query])[0], index.info
    if html is not None:
        _write_page(html, words, [*(images or []), *(unlike or [])], found, info)
    if as_json:
        json_output.write([asking.neighbour_record(hit, info) for hit in found])
        return
    seeing.draw(found, info, pictures)
    rows: list[tuple[tables.Cell, ...]] = [(hit.rank, hit.score, hit.image, hit.caption) for hit in found]
    tables.show(f"Found in {info.name}", ("rank", "score", "image", "caption"), rows)
    console.note(asking.DISCLAIMER if found else "Nothing matches: loosen --where or --min-score.")


def _write_page(
    page: Path, words: str | None, examples: list[Path], found: list[Neighbour], info: CollectionInfo
) -> None:
    from medclip_cli.commands import thumbnails
    from medclip_cli.rendering.gallery_page import Question

    asked = ", ".join((*([words] if words else []), *map(str, examples)))
    pictures = [thumbnails.jpeg(picture) for picture in thumbnails.thumbnails(examples)]
    with seeing.open_gallery(page, f"Found in {info.name}", info) as add:
        add(Question(asked, seeing.hits_of(found, info), pictures))
    console.note(f"wrote {page}")
