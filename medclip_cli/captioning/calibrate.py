"""Measures a model's caption methods on the validation split: which one wins, how sure an answer may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medclip_cli.errors import CorpusError
from medclip_cli.records import CaptionedImage, Neighbour

if TYPE_CHECKING:
    from medclip_cli.captioning.appearance import Floats, KnownAppearance
    from medclip_cli.captioning.calibration import Calibration, MethodRecord
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model, Vectors

METHODS = ("nearest", "consensus")  # what needs no decoder
WRITTEN_AT_ONCE = 32
Advance = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Examples:
    """Validation images with the neighbours that the training split gives them.

    Attributes:
        rows: the images.
        neighbours: of each, nearest first, none of its own patient, case or article.
        looks: how each looks.
        known_looks: how the training images look.
    """

    rows: list[CaptionedImage]
    neighbours: list[list[Neighbour]]
    looks: list[Floats]
    known_looks: list[Floats]

    def limits(self, places: Sequence[int] | None = None) -> Limits:
        """Beyond what an image is no scan, by some of the validation images; None for all of them."""
        from medclip_cli.captioning.appearance import learn_appearance
        from medclip_cli.captioning.calibration import FOREIGN_SHARE, domain_floor
        from medclip_cli.captioning.consensus import NEIGHBOURS

        chosen = range(len(self.rows)) if places is None else places
        return Limits(
            domain_floor([self.neighbours[place][:NEIGHBOURS][-1].score for place in chosen]),
            learn_appearance(self.known_looks, [self.looks[place] for place in chosen], FOREIGN_SHARE),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond what an image is no scan.

    Attributes:
        domain_floor: similarity of its k-th neighbour.
        appearance: how the known images look.
    """

    domain_floor: float
    appearance: KnownAppearance


def calibrate(corpus: Corpus, model: Model, on_image: Advance = lambda: None) -> Calibration:
    """Answer the validation images from the training images, and measure how that went.

    Args:
        corpus: that the model was trained on.
        model: its encoders.
        on_image: called for each image read.

    Raises:
        CorpusError: the corpus lacks readable training or validation images.
    """
    from medclip_cli.captioning.calibration import Calibration
    from medclip_cli.captioning.consensus import NEIGHBOURS, POOL
    from medclip_cli.models import has_decoder

    examples = find_neighbours(corpus, model, POOL, on_image)
    methods = {method: judge(method, examples) for method in METHODS}
    if has_decoder(model.path):
        methods["generate"] = judge_written(examples, write_captions(corpus, model.path, examples))
    limits = examples.limits()
    return Calibration(
        neighbours=NEIGHBOURS,
        domain_floor=limits.domain_floor,
        methods=methods,
        appearance=limits.appearance,
        corpus=corpus.name,
    )


def find_neighbours(corpus: Corpus, model: Model, count: int, on_image: Advance) -> Examples:
    """Find the nearest training images of each validation image, those of its own group left out.

    Raises:
        CorpusError: the corpus lacks readable training or validation images.
    """
    known = _see(corpus, corpus.split("train"), model, on_image)
    asked = _see(corpus, corpus.split("val"), model, on_image)
    groups = np.array([row.group for row in known.rows], dtype=object)
    if not asked.rows or not all((groups != row.group).any() for row in asked.rows):
        raise CorpusError("confidence is measured on val images beside train images of other groups")
    vectors = np.stack(known.vectors)
    found = []
    for row, vector in zip(asked.rows, asked.vectors, strict=True):
        similarity = vectors @ vector
        similarity[(groups == row.group) & (groups != "")] = -np.inf
        order = np.argsort(-similarity, kind="stable")[:count]
        found.append(
            [
                _neighbour(rank, known.rows[place], float(similarity[place]), corpus.name)
                for rank, place in enumerate(order, start=1)
                if similarity[place] > -np.inf
            ]
        )
    return Examples(asked.rows, found, asked.looks, known.looks)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The readable images of a split: rows, vectors, and how they look."""

    rows: list[CaptionedImage]
    vectors: list[Vectors]
    looks: list[Floats]


def _see(corpus: Corpus, rows: Sequence[CaptionedImage], model: Model, on_image: Advance) -> _Seen:
    from medclip_cli.captioning.appearance import appearance

    seen = _Seen([], [], [])
    for embedded in model.embed_files(corpus.image_path(row) for row in rows):
        if embedded.vector is not None and embedded.image is not None:
            seen.rows.append(rows[embedded.index])
            seen.vectors.append(embedded.vector)
            seen.looks.append(appearance(embedded.image))
        on_image()
    if rows and not seen.rows:
        raise CorpusError(
            f"none of the {len(rows)} {rows[0].split} images can be read: if they moved from "
            f"{corpus.image_root}, clean again"
        )
    return seen


def _neighbour(rank: int, row: CaptionedImage, score: float, corpus: str) -> Neighbour:
    from medclip_cli.captioning.consensus import VOTED_FIELDS

    fields = {name: getattr(row, name) for name in VOTED_FIELDS if getattr(row, name)}
    return Neighbour(rank, score, row.id, row.caption, row.image, corpus, row.group, fields)


def judge(method: str, examples: Examples) -> MethodRecord:
    """Answer by one method, score the captions, and fit its confidence."""
    from medclip_cli.captioning.confidence import features_of
    from medclip_cli.captioning.consensus import distinct
    from medclip_cli.captioning.predictor import choose

    captions, features, right = [], [], []
    for row, neighbours in zip(examples.rows, examples.neighbours, strict=True):
        near = distinct(neighbours)
        chosen, support, votes = choose(method, near)
        captions.append(near[chosen].caption)
        features.append(features_of([n.score for n in near], votes, support))
        right.append(is_right(row, near[chosen].fields))
    return _record(examples, captions, features, right)


def judge_written(examples: Examples, captions: Sequence[str]) -> MethodRecord:
    """Score generated captions and fit their confidence.

    A generated caption has no fields but those it spells out: a field that the true caption names must be
    named by it, too; of the others the neighbours' vote is judged.
    """
    from medclip_cli.captioning.confidence import features_of
    from medclip_cli.captioning.consensus import distinct
    from medclip_cli.captioning.predictor import support_of

    features, right = [], []
    for row, neighbours, caption in zip(examples.rows, examples.neighbours, captions, strict=True):
        near = distinct(neighbours)
        support, votes = support_of(caption, near)
        features.append(features_of([n.score for n in near], votes, support))
        told = {name: vote.value for name, vote in votes.items()}
        right.append(is_right(row, told | spelled_out(row, caption)))
    return _record(examples, captions, features, right)


def _record(
    examples: Examples, captions: Sequence[str], features: Sequence[Floats], right: Sequence[bool | None]
) -> MethodRecord:
    from medclip_cli.captioning.calibration import judge_method
    from medclip_cli.scoring.captions import score_captions

    scores = score_captions(captions, [row.captions for row in examples.rows]).corpus
    return judge_method(scores, np.stack(features), right, [row.group for row in examples.rows])


def write_captions(corpus: Corpus, model: Path, examples: Examples) -> list[str]:
    """Write a caption of each image with the model's decoder, as `medclip caption` does by default."""
    from medclip_cli.captioning.consensus import distinct
    from medclip_cli.models import open_captioner, writing_options

    captioner, options = open_captioner(model), writing_options()
    looked = captioner.encode_files((corpus.image_path(row) for row in examples.rows), WRITTEN_AT_ONCE)
    retrieved = iter(examples.neighbours)
    captions: list[str] = []
    while batch := list(islice(looked, WRITTEN_AT_ONCE)):
        grids = np.stack([seen.grid for seen in batch if seen.grid is not None])
        texts = [[neighbour.caption for neighbour in distinct(next(retrieved))] for _ in batch]
        captions += [written[0].caption for written in captioner.write(grids, texts, options)]
    return captions


def spelled_out(truth: CaptionedImage, caption: str) -> dict[str, object]:
    """What a caption says of the fields that the true caption spells out: the true value, or None."""
    from medclip_cli.captioning.consensus import known_fields

    return {
        name: value if _names(caption, value) else None
        for name, value in known_fields(truth).items()
        if _names(truth.caption, value)
    }


def _names(caption: str, value: str) -> bool:
    """Whether a value stands in a caption, as whole words and letter for letter (US is a modality)."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", caption) is not None


def is_right(truth: CaptionedImage, fields: dict[str, object]) -> bool | None:
    """Whether an answer's modality, view and region are the true ones; None where none of them is known."""
    from medclip_cli.captioning.consensus import known_fields

    known = known_fields(truth)
    return all(fields.get(name) == value for name, value in known.items()) if known else None
