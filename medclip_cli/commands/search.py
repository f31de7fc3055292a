"""`medclip search`: images by words, or by an example image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from medclip_cli.commands import asking
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    JsonOutput,
    MinScore,
    ModelPath,
    Quiet,
    Top,
    Verbose,
    Where,
)
from medclip_cli.errors import MedclipError, UsageError
from medclip_cli.rendering import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.vector_index.base import CollectionInfo, Query

EXAMPLE = "Example: medclip search 'sagittal MR of the spine' -k 5 --where modality=MR"
Mode = Literal["hybrid", "dense", "words"]


def search(
    words: Annotated[Optional[str], typer.Argument(metavar="TEXT", help="What to look for.")] = None,  # noqa: UP045
    image: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--image", "-i", metavar="FILE", help="Look for images like this one."),
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="dense: by meaning; words: by the words of the captions; hybrid: both, fused by rank."
        ),
    ] = "hybrid",
    top: Top = 10,
    where: Where = None,
    min_score: MinScore = None,
    collection: CollectionName = None,
    model: ModelPath = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find known images by words, by an example image, or by both."""
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.base import Query, parse_condition

    if not (words and words.strip()) and image is None:
        raise UsageError("nothing to look for: give words, or --image FILE")
    settings = load_settings()
    conditions = tuple(parse_condition(text) for text in where or ())
    with asking.open_collection(settings, collection) as index:
        query = Query(mode=mode, words=words, top=top, where=conditions, min_score=min_score)
        query = _with_vectors(query, image, index.info, model or settings.model)
        found = [asking.neighbour_record(hit, index.info) for hit in index.query([query])[0]]
    if as_json:
        json_output.write(found)
        return
    tables.show(
        f"{collection or index.info.name}: {words or image}",
        ("rank", "score", "image", "caption"),
        [(hit["rank"], hit["score"], hit["image"], hit["caption"]) for hit in found],  # type: ignore[misc]
    )
    console.note(asking.DISCLAIMER if found else "Nothing matches: loosen --where or --min-score.")


def _with_vectors(query: Query, image: Path | None, info: CollectionInfo, model_path: Path | None) -> Query:
    """Embed what the mode needs; searching by words alone needs no model at all."""
    from dataclasses import replace

    if image is None and query.mode == "words":
        return query
    encoder = asking.open_matching_model(info, model_path)
    if image is None:
        return replace(query, text_vector=encoder.embed_texts([query.words or ""])[0])
    (embedded,) = encoder.embed_files([image], batch_size=1)
    if embedded.vector is None:
        raise MedclipError(f"{image}: {embedded.error}")
    return replace(query, image_vector=embedded.vector)
