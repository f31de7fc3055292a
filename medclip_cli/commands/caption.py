"""`medclip caption`: what a scan shows, in words that fit it best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.captioning import session
from medclip_cli.commands import image_output, inputs
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    FilesFrom,
    Html,
    JsonOutput,
    LockTimeout,
    MinScore,
    ModelPath,
    NulSeparated,
    Offline,
    Pictures,
    Quiet,
    ServerUrl,
    StdinImage,
    Top,
    Verbose,
    Where,
)
from medclip_cli.errors import SOME_FAILED, UsageError
from medclip_cli.terminal import console, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from medclip_cli.captioning.predictor import Prediction
    from medclip_cli.commands.caption_output import CaptionOutput
    from medclip_cli.models import GenerationOptions

EXAMPLE = "Example: medclip caption scan.jpg -k 5, or: ls *.png | medclip caption - --json | jq -r .caption"
DEFAULT_BEAM = 3
_ANSWER = "Answer"
_WRITING = "Writing (with --method generate)"


def caption(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...", help="Image files, folders or patterns; '-' reads paths from stdin."
        ),
    ] = None,
    method: Annotated[
        Literal["auto", "nearest", "consensus", "generate"],
        typer.Option(
            help="nearest: the caption of the nearest known image; consensus: of the 20 nearest captions, "
            "the one closest to all of them; generate: written by the model's decoder; auto: what won on "
            "this model's validation images.",
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
        float | None,
        typer.Option(
            min=0, max=1, help="Give no caption that is less sure than this.", rich_help_panel=_ANSWER
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="The true caption, to score the answer with: BLEU, ROUGE-L, METEOR, CIDEr. Repeatable.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="CORPUS",
            help="Score the answers for images of this corpus with their own captions; their own patients "
            "and cases then do not answer.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write an HTML page: the neighbours of each scan, the words they share, where a decoder "
            "looked.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option(help="Captions kept in mind while searching. [default: 3]", rich_help_panel=_WRITING),
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(help="0 favours short captions. [default: 1]", rich_help_panel=_WRITING),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Draw captions instead of searching: 1 as probable as they are.", rich_help_panel=_WRITING
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw from this much of the probability.", rich_help_panel=_WRITING),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of what is drawn. [default: 0]", rich_help_panel=_WRITING),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Longest caption. [default: 96]", rich_help_panel=_WRITING),
    ] = None,
    num_captions: Annotated[
        int | None,
        typer.Option(help="Captions for each image, with their scores.", rich_help_panel=_WRITING),
    ] = None,
    allow_repeats: Annotated[
        bool,
        typer.Option(
            "--allow-repeats",
            help="Let the decoder write the same four tokens twice.",
            rich_help_panel=_WRITING,
        ),
    ] = False,
    top: Top = 5,
    where: Where = None,
    min_score: MinScore = None,
    collection: CollectionName = None,
    model: ModelPath = None,
    url: ServerUrl = None,
    offline: Offline = None,
    lock_timeout: LockTimeout = None,
    files_from: FilesFrom = None,
    nul_separated: NulSeparated = False,
    from_stdin: StdinImage = False,
    html: Html = None,
    pictures: Pictures = "auto",
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Caption each image from what is known of the images most like it."""
    from medclip_cli.captioning.explanation import answer_card
    from medclip_cli.captioning.predictor import PredictionRequest, answer_files, make_predictor
    from medclip_cli.commands.caption_output import CaptionOutput
    from medclip_cli.evaluation.references import open_references
    from medclip_cli.pages.answers import open_gallery
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.base import parse_condition

    settings = load_settings(
        {
            "collection": collection,
            "model": model,
            "qdrant_url": url,
            "lock_timeout_seconds": lock_timeout,
            "offline": offline,
        }
    )
    conditions = tuple(parse_condition(text) for text in where or ())
    sources = _sources(images or [], files_from, nul_separated, from_stdin)
    writing: dict[str, object] = {
        "beam": num_captions if beam is None and (num_captions or 0) > DEFAULT_BEAM else beam,
        "length_penalty": length_penalty,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "max_tokens": max_tokens,
        "captions": num_captions,
        "no_repeat": 0 if allow_repeats else None,
    }
    with session.open_collection(settings) as index:
        encoder = session.open_matching_model(index.info, settings.model)
        answerer = make_predictor(encoder, method, min_confidence)
        source = f"model {index.info.model_name}, collection {index.info.name}"
        with (
            open_gallery(html, "Captions", source) as add_to_gallery,
            open_gallery(explain, "Why these captions", source) as add_to_explanation,
            open_references(reference or (), corpus, index) as truth,
        ):
            written = _writing(answerer.method, writing)
            asked = PredictionRequest(
                answerer, conditions, top, min_score, written, truth.own_group if truth else None
            )
            output = CaptionOutput(index.info, as_json, show_fields, truth, pictures)
            pages: list[Callable[[Prediction], None]] = []
            if explain is not None:
                pages.append(lambda one: add_to_explanation(answer_card(one, index.info)))
            if html is not None:
                pages.append(lambda one: add_to_gallery(replace(answer_card(one, index.info), attention=())))
            answered, failed = _show_all(answer_files(index, encoder, sources, asked), output, pages)
    if answered and not as_json:
        console.note(session.DISCLAIMER)
    if failed:
        raise typer.Exit(SOME_FAILED if answered else 1)


def _sources(
    images: Sequence[str], files_from: str | None, nul_separated: bool, from_stdin: bool
) -> Iterable[Path | BinaryIO]:
    """Return the images that are meant.

    Raises:
        UsageError: the image on stdin and others, too.
    """
    if not from_stdin:
        return inputs.expand_images(images, files_from, nul_separated=nul_separated)
    if images or files_from or nul_separated:
        raise UsageError("--stdin-image is the only image: name no other, or leave it out")
    return [inputs.stdin_image()]


def _show_all(
    answers: Iterable[Prediction], output: CaptionOutput, pages: Sequence[Callable[[Prediction], None]]
) -> tuple[int, int]:
    """Show each answer as it comes; returns how many there were, and how many images could not be read."""
    with progress.track_output("Captioning") as bar:
        try:
            for one in answers:
                if one.answer is None:
                    bar.fail()
                    label = inputs.label_of(one.embedded.source)
                    output.failure(label, one.embedded.error or "cannot be read")
                    continue
                output.answer(one, image_output.scan_of(one))
                for add in pages:
                    add(one)
                bar.advance()
        except KeyboardInterrupt:
            no_page = "; no page is written" if pages else ""
            console.note(f"{console.counted(bar.done, 'image')} answered{no_page}. Go on with the others.")
            raise
    return bar.done - bar.failed, bar.failed


def _writing(method: str, given: dict[str, object]) -> GenerationOptions | None:
    """Return how captions are searched for.

    Raises:
        UsageError: an option is out of range, or belongs to another method.
    """
    if method == "generate":
        from medclip_cli.models import writing_options

        return writing_options(**given)
    for name in (name for name, value in given.items() if value is not None):
        flag = {"captions": "num-captions", "no_repeat": "allow-repeats"}.get(name, name.replace("_", "-"))
        raise UsageError(f"--{flag} tells a decoder how to write: it needs --method generate")
    return None
