"""`medclip caption`: what a scan shows, in words that fit it best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from medclip_cli.commands import asking, inputs
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    FilesFrom,
    JsonOutput,
    LockTimeout,
    MinScore,
    ModelPath,
    NulSeparated,
    Quiet,
    StdinImage,
    Top,
    Verbose,
    Where,
)
from medclip_cli.rendering import console

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

EXAMPLE = "Example: medclip caption scan.jpg -k 5, or: ls *.png | medclip caption - --json | jq -r .caption"
SOME_FAILED = 3
BATCH_SIZE = 8  # small, so that the first answer of a long list comes soon
_ANSWER = "Answer"


def caption(
    images: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Argument(
            metavar="IMAGE...", help="Image files, folders or patterns; '-' reads paths from stdin."
        ),
    ] = None,
    method: Annotated[
        Literal["auto", "nearest", "consensus"],
        typer.Option(
            help="nearest: the caption of the nearest known image; consensus: of the 20 nearest, the one "
            "closest to all of them; auto: what won on this model's validation images.",
            rich_help_panel=_ANSWER,
        ),
    ] = "auto",
    show_fields: Annotated[
        bool,
        typer.Option(
            "--fields",
            help="Show what the neighbours say of modality, view, region and findings.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    min_confidence: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0, max=1, help="Give no caption that is less sure than this.", rich_help_panel=_ANSWER
        ),
    ] = None,
    reference: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="TEXT",
            help="The true caption, to score the answer with. Repeatable.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    top: Top = 5,
    where: Where = None,
    min_score: MinScore = None,
    collection: CollectionName = None,
    model: ModelPath = None,
    lock_timeout: LockTimeout = None,
    files_from: FilesFrom = None,
    nul_separated: NulSeparated = False,
    from_stdin: StdinImage = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Caption each image from what is known of the images most like it."""
    from medclip_cli.commands.answering import Asked, ask, make_answerer
    from medclip_cli.commands.caption_output import CaptionOutput
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.base import parse_condition

    settings = load_settings({"collection": collection, "model": model, "lock_timeout_seconds": lock_timeout})
    conditions = tuple(parse_condition(text) for text in where or ())
    sources: Iterable[Path | BinaryIO] = (
        [inputs.stdin_image()]
        if from_stdin
        else inputs.expand_images(images or [], files_from, nul_separated=nul_separated)
    )
    failed = answered = 0
    with asking.open_collection(settings) as index:
        encoder = asking.open_matching_model(index.info, settings.model)
        asked = Asked(make_answerer(encoder, method, min_confidence), conditions, top, min_score)
        output = CaptionOutput(index.info, as_json, show_fields, tuple(reference or ()))
        for embedded in encoder.embed_files(sources, BATCH_SIZE):
            path = inputs.label_of(embedded.source)
            if embedded.vector is None:
                failed += 1
                output.failure(path, embedded.error or "cannot be read")
            else:
                output.answer(path, *ask(index, embedded.vector, asked))
                answered += 1
    if answered and not as_json:
        console.note(asking.DISCLAIMER)
    if failed:
        raise typer.Exit(SOME_FAILED if answered else 1)
