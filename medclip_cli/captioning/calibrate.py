"""Measures a model's caption methods on the validation split: which one wins, how sure an answer may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medclip_cli.captioning.appearance import Floats, KnownAppearance, appearance, learn_appearance
from medclip_cli.captioning.calibration import (
    FOREIGN_SHARE,
    Calibration,
    MethodRecord,
    calibrate_method,
    domain_floor,
)
from medclip_cli.captioning.confidence import features_of
from medclip_cli.captioning.consensus import NEIGHBOURS, POOL, VOTED_FIELDS, Vote, distinct, known_fields
from medclip_cli.captioning.predictor import choose, support_of
from medclip_cli.errors import CorpusError
from medclip_cli.models import open_captioner
from medclip_cli.progress import OnProgress, Progress, no_progress
from medclip_cli.records import CaptionedImage, Neighbour

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model, Vectors

CARD_FILE = "MODEL_CARD.md"
_CARD_HEADING = "## Captions"
_CARD_SCORES = ("bleu1", "bleu4", "rouge_l", "cider")
METHODS = ("nearest", "consensus")  # what needs no decoder
WRITTEN_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Examples:
    """Validation images with the neighbours that the training split gives them."""

    rows: list[CaptionedImage]
    neighbours: list[list[Neighbour]]  # of each, nearest first, none of its own patient, case or article
    appearances: list[Floats]  # a description of each
    known_appearances: list[Floats]  # of the training images

    def limits(self, positions: Sequence[int] | None = None) -> Limits:
        """Beyond what an image is not a scan, by some of the validation images; None for all of them."""
        chosen = range(len(self.rows)) if positions is None else positions
        return Limits(
            domain_floor([self.neighbours[position][:NEIGHBOURS][-1].score for position in chosen]),
            learn_appearance(
                self.known_appearances, [self.appearances[position] for position in chosen], FOREIGN_SHARE
            ),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond what an image is not a scan."""

    domain_floor: float  # similarity of its k-th neighbour
    appearance: KnownAppearance  # how the known images look


def calibrate(corpus: Corpus, model: Model, on_progress: OnProgress = no_progress) -> Calibration:
    """Answer the validation images from the training images, and measure how that went.

    Args:
        corpus: that the model was trained on.
        model: its encoders.
        on_progress: hears of each image that was embedded.

    Raises:
        CorpusError: the corpus lacks readable training or validation images.
    """
    examples = find_neighbours(corpus, model, POOL, on_progress)
    methods = {method: evaluate_method(method, examples) for method in METHODS}
    if "generate" in model.info.can:
        methods["generate"] = evaluate_generated(examples, write_captions(corpus, model.path, examples))
    limits = examples.limits()
    return Calibration(
        neighbours=NEIGHBOURS,
        domain_floor=limits.domain_floor,
        methods=methods,
        appearance=limits.appearance,
        corpus=corpus.name,
    )


def find_neighbours(
    corpus: Corpus, model: Model, count: int, on_progress: OnProgress = no_progress
) -> Examples:
    """Find the nearest training images of each validation image, those of its own group left out.

    Raises:
        CorpusError: the corpus lacks readable training or validation images.
    """
    total = len(corpus.split("train")) + len(corpus.split("val"))
    known = _embed(corpus, corpus.split("train"), model, total, 0, on_progress)
    validation = _embed(corpus, corpus.split("val"), model, total, len(corpus.split("train")), on_progress)
    groups = np.array([row.group for row in known.rows], dtype=object)
    if not validation.rows or not all((groups != row.group).any() for row in validation.rows):
        raise CorpusError("confidence is measured on val images beside train images of other groups")
    vectors = np.stack(known.vectors)
    found = []
    for row, vector in zip(validation.rows, validation.vectors, strict=True):
        similarity = vectors @ vector
        similarity[(groups == row.group) & (groups != "")] = -np.inf
        order = np.argsort(-similarity, kind="stable")[:count]
        found.append(
            [
                _neighbour(rank, known.rows[position], float(similarity[position]), corpus.name)
                for rank, position in enumerate(order, start=1)
                if similarity[position] > -np.inf
            ]
        )
    return Examples(validation.rows, found, validation.appearances, known.appearances)


class _EmbeddedSplit(NamedTuple):
    """The readable images of a split."""

    rows: list[CaptionedImage]
    vectors: list[Vectors]
    appearances: list[Floats]


def _embed(
    corpus: Corpus,
    rows: Sequence[CaptionedImage],
    model: Model,
    total: int,
    before: int,
    on_progress: OnProgress,
) -> _EmbeddedSplit:

    split, failed = _EmbeddedSplit([], [], []), 0
    for done, embedded in enumerate(model.embed_files(corpus.image_path(row) for row in rows), start=1):
        if embedded.vector is not None and embedded.image is not None:
            split.rows.append(rows[embedded.index])
            split.vectors.append(embedded.vector)
            split.appearances.append(appearance(embedded.image))
        else:
            failed += 1
        on_progress(Progress("Embedding", before + done, total, failed))
    if rows and not split.rows:
        raise CorpusError(
            f"none of the {len(rows)} {rows[0].split} images can be read: if they moved from "
            f"{corpus.image_root}, clean again"
        )
    return split


def _neighbour(rank: int, row: CaptionedImage, score: float, corpus: str) -> Neighbour:

    fields = {name: getattr(row, name) for name in VOTED_FIELDS if getattr(row, name)}
    return Neighbour(rank, score, row.id, row.caption, row.image, corpus, row.group, fields)


def evaluate_method(method: str, examples: Examples) -> MethodRecord:
    """Answer by one method, score the captions, and fit its confidence."""
    answers = []
    for neighbours in examples.neighbours:
        near = distinct(neighbours)
        chosen, support, votes = choose(method, near)
        answers.append((near[chosen].caption, support, votes, near[chosen].fields))
    return _record(examples, answers)


def evaluate_generated(examples: Examples, captions: Sequence[str]) -> MethodRecord:
    """Score generated captions and fit their confidence.

    A generated caption has no fields but those it spells out: a field that the true caption names must be
    named by it, too; of the others the neighbours' vote counts.
    """
    answers = []
    for row, neighbours, caption in zip(examples.rows, examples.neighbours, captions, strict=True):
        support, votes = support_of(caption, distinct(neighbours))
        voted = {name: vote.value for name, vote in votes.items()}
        answers.append((caption, support, votes, voted | spelled_out(row, caption)))
    return _record(examples, answers)


def _record(
    examples: Examples, answers: Sequence[tuple[str, float, dict[str, Vote], Mapping[str, object]]]
) -> MethodRecord:
    """Fit a method by its captions, the neighbours' support and votes, and the fields that are claimed."""
    from medclip_cli.scoring.captions import score_captions

    features, right = [], []
    for row, neighbours, (_, support, votes, fields) in zip(
        examples.rows, examples.neighbours, answers, strict=True
    ):
        features.append(features_of([one.score for one in distinct(neighbours)], votes, support))
        right.append(is_right(row, fields))
    scores = score_captions([answer[0] for answer in answers], [row.captions for row in examples.rows]).corpus
    return calibrate_method(scores, np.stack(features), right, [row.group for row in examples.rows])


def write_captions(corpus: Corpus, model: Path, examples: Examples) -> list[str]:
    """Write a caption of each image with the model's decoder, as `medclip caption` does by default."""
    from encoders.generation import GenerationOptions

    captioner, options = open_captioner(model), GenerationOptions()
    encoded = captioner.encode_files((corpus.image_path(row) for row in examples.rows), WRITTEN_AT_ONCE)
    retrieved = iter(examples.neighbours)
    captions: list[str] = []
    while batch := list(islice(encoded, WRITTEN_AT_ONCE)):
        grids = np.stack([image.grid for image in batch if image.grid is not None])
        texts = [[neighbour.caption for neighbour in distinct(next(retrieved))] for _ in batch]
        captions += [written[0].caption for written in captioner.write(grids, texts, options)]
    return captions


def spelled_out(truth: CaptionedImage, caption: str) -> dict[str, object]:
    """What a caption says of the fields that the true caption spells out: the true value, or None."""
    return {
        name: value if _names(caption, value) else None
        for name, value in known_fields(truth).items()
        if _names(truth.caption, value)
    }


def _names(caption: str, value: str) -> bool:
    """Whether a caption contains a value, as whole words, case-sensitive (US is a modality)."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", caption) is not None


def is_right(truth: CaptionedImage, fields: Mapping[str, object]) -> bool | None:
    """Whether an answer's modality, view and region are the true ones; None where none of them is known."""
    known = known_fields(truth)
    return all(fields.get(name) == value for name, value in known.items()) if known else None


def with_captions(card: str, measured: Calibration) -> str:
    """Put the section into a card, in place of an earlier one.

    Args:
        card: the whole card; may be empty.
        measured: what the section says.
    """
    before, _, after = card.partition(f"{_CARD_HEADING}\n")
    # What follows the old section begins with the next heading of its rank.
    _, found, rest = after.partition("\n## ")
    parts = [before.rstrip(), _card_section(measured), f"## {rest}".rstrip() if found else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def _card_section(measured: Calibration) -> str:
    scores = [
        (
            name,
            *(_number(record.scores.get(score)) for score in _CARD_SCORES),
            f"{record.right:.2f} of {record.answers}" if record.answers else "not known",
        )
        for name, record in measured.methods.items()
    ]
    kept = [
        (name, f"{row.low:g} to {row.high:g}", str(row.answers), _number(row.confidence), _number(row.right))
        for name, record in measured.methods.items()
        for row in record.reliability
    ]
    paragraphs = [
        _CARD_HEADING,
        f"Captions of the validation images of `{measured.corpus}`, answered from its training images. "
        "Right: of modality, view and region all that are known are right.",
        _table(("method", *_CARD_SCORES, "right"), scores),
    ]
    if kept:
        paragraphs += [
            "Confidence beside how often the answers were right, each evaluated by a calibration "
            "fitted without its patient:",
            _table(("method", "confidence", "answers", "mean", "right"), kept),
        ]
    return "\n\n".join(paragraphs)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
