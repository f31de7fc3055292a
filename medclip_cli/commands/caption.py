"""`medclip caption`: the known captions that fit a scan best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from medclip_cli.commands import asking, inputs
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    FilesFrom,
    JsonOutput,
    MinScore,
    ModelPath,
    NulSeparated,
    Quiet,
    StdinImage,
    Top,
    Verbose,
    Where,
)
from medclip_cli.rendering import console, json_output, tables

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from medclip_cli.records import Neighbour
    from medclip_cli.vector_index.base import CollectionInfo

EXAMPLE = "Example: medclip caption scan.jpg -k 5, or: ls *.png | medclip caption - --json | jq -r .caption"
SOME_FAILED = 3
BATCH_SIZE = 8  # small, so that the first answer of a long list comes soon


def caption(
    images: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Argument(
            metavar="IMAGE...", help="Image files, folders or patterns; '-' reads paths from stdin."
        ),
    ] = None,
    top: Top = 5,
    where: Where = None,
    min_score: MinScore = None,
    collection: CollectionName = None,
    model: ModelPath = None,
    files_from: FilesFrom = None,
    nul_separated: NulSeparated = False,
    from_stdin: StdinImage = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Caption each image with the caption of its nearest known neighbour."""
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.base import Query, parse_condition

    settings = load_settings()
    conditions = tuple(parse_condition(text) for text in where or ())
    sources: Iterable[Path | BinaryIO] = (
        [inputs.stdin_image()]
        if from_stdin
        else inputs.expand_images(images or [], files_from, nul_separated=nul_separated)
    )
    failed = answered = 0
    with asking.open_collection(settings, collection) as index:
        encoder = asking.open_matching_model(index.info, model or settings.model)
        for embedded in encoder.embed_files(sources, BATCH_SIZE):
            path = inputs.label_of(embedded.source)
            if embedded.vector is None:
                failed += 1
                _show_failure(path, embedded.error or "cannot be read", as_json)
                continue
            query = Query(image_vector=embedded.vector, top=top, where=conditions, min_score=min_score)
            _show_answer(path, index.query([query])[0], index.info, min_score, as_json)
            answered += 1
    if answered and not as_json:
        console.note(asking.DISCLAIMER)
    if failed:
        raise typer.Exit(SOME_FAILED if answered else 1)


def _show_failure(path: str, error: str, as_json: bool) -> None:
    if as_json:
        json_output.write_line({"image": path, "caption": None, "error": error})
    console.warn(f"{path}: {error}")


def _show_answer(
    path: str, neighbours: list[Neighbour], info: CollectionInfo, min_score: float | None, as_json: bool
) -> None:
    best = neighbours[0] if neighbours else None
    answer: dict[str, object] = {
        "image": path,
        "caption": best.caption if best else None,
        "method": "nearest",
        "score": best.score if best else None,
    }
    if best is None:
        answer["reason"] = _why_nothing(min_score)
    if as_json:
        answer["neighbours"] = [asking.neighbour_record(neighbour, info) for neighbour in neighbours]
        answer["model"] = info.model_name
        answer["collection"] = info.name
        json_output.write_line(answer)
        return
    console.out(f"{path}: {best.caption if best else answer['reason']}")
    tables.show(
        f"Nearest in {info.name}",
        ("rank", "score", "image", "caption"),
        [(n.rank, n.score, n.image, n.caption) for n in neighbours],
    )


def _why_nothing(min_score: float | None) -> str:
    if min_score is not None:
        return f"no known image that matches scores {min_score:g} or more"
    return "no known image matches the conditions"
