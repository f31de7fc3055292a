"""What each method answers for an image: the model's methods, and the baselines that need no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip_cli.captioning.consensus import distinct
from medclip_cli.captioning.predictor import Predictor, choose
from medclip_cli.errors import ScanError
from medclip_cli.parallel import usable_cores
from medclip_cli.records import CaptionedImage, Neighbour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model
    from medclip_cli.vector_index.base import CollectionInfo, VectorIndex

METHODS = ("nearest", "consensus", "generate")
UPPER_BOUND = "same_fields_oracle"  # its name in JSON since the first version
BASELINES = ("random", "most_frequent", "pixel_nearest", UPPER_BOUND)
FIELDS = ("modality", "view", "region")
THUMBNAIL_SIDE = 32
BASELINE_SEED = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """The caption that a method gives an image."""

    caption: str  # empty where nothing was found
    # of the image the caption was taken from; of the nearest one for a generated caption
    fields: Mapping[str, Any]
    score: float | None = None  # cosine similarity of the nearest image; None for baselines
    image: Path | None = None  # where the image the caption was taken from is, if its corpus is here


def neighbour_captions(
    method: str, neighbours: Iterable[Sequence[Neighbour]], info: CollectionInfo
) -> list[Prediction]:
    """The caption of a neighbour of each image, by ``nearest`` or ``consensus``.

    Args:
        method: how it is chosen.
        neighbours: of each image, nearest first.
        info: of the collection that answered.
    """
    predictions = []
    for found in neighbours:
        if not found:
            predictions.append(Prediction("", {}))
            continue
        near = distinct(found)
        chosen = near[choose(method, near)[0]]
        source = info.corpora.get(chosen.corpus)
        image = Path(source.image_root) / chosen.image if source else None
        predictions.append(Prediction(chosen.caption, chosen.fields, found[0].score, image))
    return predictions


def generated_captions(
    paths: Sequence[Path], index: VectorIndex, model: Model, excluded: frozenset[str]
) -> list[Prediction]:
    """The captions that the model's decoder writes, as `medclip caption --method generate` does.

    Args:
        paths: image files that can be read.
        index: the collection whose captions the decoder reads.
        model: a model with a decoder.
        excluded: patients, cases or articles whose captions it must not read.

    Raises:
        ModelError: the model has no decoder.
    """
    predictor = Predictor(index, model, "generate", top=1, own_groups=lambda _: excluded)
    return [
        Prediction(
            answer.caption or "", answer.neighbours[0].fields if answer.neighbours else {}, answer.score
        )
        for answer in predictor.predict(paths)
    ]


def baseline_captions(
    corpus: Corpus, rows: list[CaptionedImage], pool: list[CaptionedImage]
) -> dict[str, list[Prediction]]:
    """The answers of `BASELINES`, which draw from the same pool as the model.

    Args:
        corpus: where the images are.
        rows: the images that are evaluated.
        pool: the images that may answer.
    """
    from medclip_cli.scoring import baselines

    grey_rows, grey_pool = (
        grey_thumbnails([corpus.image_path(record) for record in records], THUMBNAIL_SIDE)
        for records in (rows, pool)
    )
    rng = np.random.default_rng(BASELINE_SEED)
    chosen = (
        baselines.random_baseline(len(rows), len(pool), rng),
        baselines.most_frequent_baseline(len(rows), [record.caption for record in pool]),
        baselines.pixel_nearest_baseline(grey_rows, grey_pool),
        baselines.same_fields(
            [tuple(fields_of(row).values()) for row in rows],
            [tuple(fields_of(record).values()) for record in pool],
            rng,
        ),
    )
    return {
        name: [
            Prediction(pool[i].caption, fields_of(pool[i]), image=corpus.image_path(pool[i])) for i in picks
        ]
        for name, picks in zip(BASELINES, chosen, strict=True)
    }


def fields_of(record: CaptionedImage) -> dict[str, str | None]:
    """The fields an answer should have right."""
    return {name: getattr(record, name) for name in FIELDS}


def grey_thumbnails(paths: Sequence[Path], side: int) -> NDArray[np.uint8]:
    """Return grey thumbnails, uint8 ``[n, side, side]``; an image that cannot be read becomes all zero."""
    from concurrent.futures import ThreadPoolExecutor

    from encoders.images import read_image

    def shrink(path: Path) -> NDArray[np.uint8]:
        try:
            return np.asarray(read_image(path).convert("L").resize((side, side)), dtype=np.uint8)
        except ScanError:
            return np.zeros((side, side), dtype=np.uint8)

    with ThreadPoolExecutor(min(16, usable_cores())) as pool:
        return np.stack(list(pool.map(shrink, paths)))
