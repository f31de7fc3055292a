"""`medclip caption`: captions for images, from the captions of similar known images."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import inputs
from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED
from medclip_cli.records import DISCLAIMER
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from medclip_cli.captioning.predictor import Answer
    from medclip_cli.pages import AnswerCard
    from medclip_cli.terminal.pictures import Mode

EXAMPLE = "Example: medclip caption scan.jpg -k 5, or: ls *.png | medclip caption - --json | jq -r .caption"
_answer, _generation = opt.panel("Answer"), opt.panel("Generation (with --method generate)")


def caption(
    images: opt.Images = None,
    method: Annotated[
        Literal["auto", "nearest", "consensus", "generate"],
        _answer(
            "nearest: the caption of the nearest known image; consensus: of the 20 nearest captions, "
            "the one closest to all of them; generate: written by the model's decoder; auto: the "
            "method that won on this model's validation images."
        ),
    ] = "auto",
    show_fields: Annotated[
        bool, _answer("Show the neighbours' votes on modality, view, region and findings.", "--fields")
    ] = False,
    min_confidence: Annotated[
        float | None, _answer("Give no caption with a lower confidence than this.", min=0, max=1)
    ] = None,
    reference: Annotated[
        list[str] | None,
        _answer(
            "The true caption, to score the answer against: BLEU, ROUGE-L, METEOR, CIDEr. Repeatable.",
            metavar="TEXT",
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        _answer(
            "Score the answers for images of this corpus against their own captions; their own "
            "patients and cases are left out of the neighbours.",
            metavar="CORPUS",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        _answer(
            "Write an HTML page: the neighbours of each scan, the words they share, the attention of "
            "a decoder.",
            metavar="FILE",
        ),
    ] = None,
    beam: Annotated[int | None, _generation("Beam width. [default: 3]")] = None,
    length_penalty: Annotated[
        float | None,
        _generation("Exponent of the length normalisation; 0 favours short captions. [default: 1]"),
    ] = None,
    temperature: Annotated[
        float | None,
        _generation("Sample instead of beam search; 1 samples from the decoder's own distribution."),
    ] = None,
    top_p: Annotated[
        float | None, _generation("Sample from the most probable tokens that hold this much probability.")
    ] = None,
    seed: Annotated[int | None, _generation("Random seed for sampling. [default: 0]")] = None,
    max_tokens: Annotated[int | None, _generation("Longest caption, in tokens. [default: 96]")] = None,
    num_captions: Annotated[int | None, _generation("Captions per image, with their scores.")] = None,
    allow_repeats: Annotated[
        bool, _generation("Let the decoder repeat a run of four tokens.", "--allow-repeats")
    ] = False,
    top: opt.Top = 5,
    where: opt.Where = None,
    min_score: opt.MinScore = None,
    collection: opt.CollectionName = None,
    model: opt.ModelPath = None,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
    lock_timeout: opt.LockTimeout = None,
    files_from: opt.FilesFrom = None,
    nul_separated: opt.NulSeparated = False,
    from_stdin: opt.StdinImage = False,
    html: opt.Html = None,
    pictures: opt.Pictures = "auto",
    as_json: opt.JsonOutput = False,
) -> None:
    """Caption each image from the captions of the known images most like it."""
    from medclip_cli.collection import open_collection

    sources = inputs.named_images(images or [], files_from, nul_separated, from_stdin)
    with ExitStack() as stack:
        opened = stack.enter_context(
            open_collection(collection, url=url, model=model, offline=offline, lock_timeout=lock_timeout)
        )
        answers = opened.iter_caption(
            sources,
            method=method,
            k=top,
            where=where,
            min_score=min_score,
            min_confidence=min_confidence,
            references=reference or (),
            corpus=corpus,
            beam=beam,
            length_penalty=length_penalty,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            max_tokens=max_tokens,
            num_captions=num_captions,
            allow_repeats=allow_repeats,
        )
        pages: list[Callable[[AnswerCard], None]] = []
        if html or explain:
            from medclip_cli.captioning.cards import answer_card
            from medclip_cli.pages import open_gallery

            made_by = f"model {opened.info.model_name}, collection {opened.info.name}"
            gallery = stack.enter_context(open_gallery(html, "Captions", made_by))
            why = stack.enter_context(open_gallery(explain, "Why these captions", made_by))
            pages = [lambda card: gallery(replace(card, attention=())), why]
        bar = stack.enter_context(progress.track_output("Captioning"))
        try:
            for answer in answers:
                if as_json:
                    json_output.write_line(answer.to_dict(fields=show_fields))
                if answer.error is not None:
                    console.warn(f"{answer.image}: {answer.error}")
                    bar.fail()
                    continue
                if not as_json:
                    _show(answer, show_fields, pictures)
                if pages:
                    card = answer_card(answer)
                    for add in pages:
                        add(card)
                bar.advance()
        except KeyboardInterrupt:
            no_page = "; no page is written" if pages else ""
            console.note(f"{console.counted(bar.done, 'image')} answered{no_page}: caption the others next.")
            raise
    if bar.done > bar.failed and not as_json:
        console.note(DISCLAIMER)
    if bar.failed:
        raise typer.Exit(SOME_FAILED if bar.done > bar.failed else 1)


def _show(answer: Answer, show_fields: bool, mode: Mode) -> None:
    from PIL import Image

    from medclip_cli.terminal import pictures

    sure = "" if answer.confidence is None else f" (confidence {answer.confidence:.2f})"
    console.prose(f"{answer.image}: {answer.caption or answer.reason}{sure}")
    if answer.neighbours:
        files = [(f"{one.rank}  {one.score:.3f}", one.path) for one in answer.neighbours]
        scan = [] if answer.pixels is None else [("the scan", Image.fromarray(answer.pixels))]
        pictures.show_files(files, mode, scan)
        # Consensus may take the caption of a neighbour further down, which gets an asterisk.
        lender = answer.lender if answer.lender is not answer.neighbours[0] else None
        rows: list[tuple[tables.Cell, ...]] = [
            (f"{one.rank}*" if one is lender else one.rank, one.score, one.image, one.caption)
            for one in answer.neighbours
        ]
        title = f"Nearest in {answer.collection}" + (" (* has the caption)" if lender else "")
        tables.show(title, ("rank", "score", "image", "caption"), rows)
    if len(answer.generated) > 1:
        shown = [(one.score, one.caption) for one in answer.generated]
        tables.show("Generated captions", ("score", "caption"), shown)
    if show_fields:
        votes = [
            (
                name,
                vote.value,
                vote.share,
                ", ".join(f"{value} {share:.2f}" for value, share in vote.shares[1:4]),
            )
            for name, vote in answer.votes.items()
        ]
        tables.show("Votes of the neighbours", ("field", "value", "share", "others"), votes)
    if answer.reference_scores is not None:
        scores = answer.reference_scores
        tables.show("Scores against the true captions", tuple(scores), [tuple(scores.values())])
