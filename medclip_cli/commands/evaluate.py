"""`medclip evaluate`: captions and retrieval on a held-out split, beside their floors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import asking
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    JsonOutput,
    LockTimeout,
    ModelPath,
    Quiet,
    Verbose,
)
from medclip_cli.rendering import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.commands.evaluation import Evaluation

EXAMPLE = "Example: medclip evaluate work/medpix --collection medpix --split val"
SOME_FAILED = 3
SHOWN = ("bleu1", "bleu4", "rouge_l", "rouge_l_p", "rouge_l_r", "rouge_l_f1", "cider")
METHODS = {
    "nearest": "nearest (the model)",
    "random": "floor: a random caption",
    "most_frequent": "floor: the most frequent caption",
    "pixel_nearest": "floor: nearest by 32x32 grey pixels",
    "same_fields_oracle": "oracle: random, same modality, view, region",
}


def evaluate(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="The split to judge.")] = "val",
    collection: CollectionName = None,
    model: ModelPath = None,
    lock_timeout: LockTimeout = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Score captions and retrieval on a held-out split, beside random, pixel and field floors.

    An image is never answered by its own patient, case or article.
    """
    from medclip_cli.commands import evaluation
    from medclip_cli.corpora.corpus_folder import open_corpus
    from medclip_cli.settings import load_settings

    settings = load_settings({"collection": collection, "model": model, "lock_timeout_seconds": lock_timeout})
    opened = open_corpus(corpus)
    with asking.open_collection(settings) as index:
        encoder = asking.open_matching_model(index.info, settings.model)
        with progress.track(f"Judging {split}", total=len(opened.split(split))) as bar:
            result = evaluation.evaluate_split(opened, index, encoder, split, bar.advance)
        answer = evaluation.as_json(result, opened, index)
    if as_json:
        json_output.write(answer)
    else:
        _show(result)
    for image, reason in result.unreadable.items():
        console.warn(f"{image}: {reason}")
    if result.unreadable:
        raise typer.Exit(SOME_FAILED)


def _show(result: Evaluation) -> None:
    directions: list[tuple[tables.Cell, ...]] = [
        (direction.replace("_", " "), *scores.recall.values(), scores.median_rank, scores.pool)
        for direction, scores in result.retrieval.items()
    ]
    directions.append(("chance", *result.chance["image_to_text"].values(), None, result.queries))
    tables.show(
        f"Captions of {result.queries} {result.split} images, answered from {result.pool} known images",
        ("caption chosen", *SHOWN, "distinct"),
        [
            (METHODS[method], *(scores.corpus[name] for name in SHOWN), result.distinct[method])
            for method, scores in result.captions.items()
        ],
    )
    console.out("")
    tables.show(
        f"Retrieval among the {result.queries} {result.split} images; equal captions count as right",
        ("direction", "R@1", "R@5", "R@10", "median rank", "pool"),
        directions,
    )
    console.note(asking.DISCLAIMER)
