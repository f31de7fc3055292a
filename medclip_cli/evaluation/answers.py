"""What each method says of an image: the model's methods, and the baselines that need none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip_cli.captioning.consensus import distinct
from medclip_cli.captioning.predictor import BATCH_SIZE, choose
from medclip_cli.records import CaptionedImage, Neighbour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.vector_index.base import CollectionInfo

METHODS = ("nearest", "consensus", "generate")
BASELINES = ("random", "most_frequent", "pixel_nearest", "same_fields_oracle")
FIELDS = ("modality", "view", "region")
THUMBNAIL_SIDE = 32
BASELINE_SEED = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method said of an image.

    Attributes:
        caption: empty when it found nothing.
        fields: of the image it took the caption from.
        score: cosine similarity of that image; None for methods that have none.
        image: where that image lies, if its corpus is here.
    """

    caption: str
    fields: Mapping[str, Any]
    score: float | None = None
    image: Path | None = None


def looked_up(method: str, neighbours: Sequence[Sequence[Neighbour]], info: CollectionInfo) -> list[Answer]:
    """The caption of a neighbour, by ``nearest`` or ``consensus``.

    Args:
        method: how it is chosen.
        neighbours: of each image, nearest first.
        info: of the collection that answered.
    """
    return [_looked_up(method, found, info) for found in neighbours]


def _looked_up(method: str, neighbours: Sequence[Neighbour], info: CollectionInfo) -> Answer:
    if not neighbours:
        return Answer("", {})
    near = distinct(neighbours)
    chosen = near[choose(method, near)[0]]
    source = info.corpora.get(chosen.corpus)
    image = Path(source.image_root) / chosen.image if source else None
    return Answer(chosen.caption, chosen.fields, neighbours[0].score, image)


def written(
    paths: Sequence[Path], neighbours: Sequence[Sequence[Neighbour]], model_path: Path
) -> Iterator[Answer]:
    """The caption that the model's decoder writes; its fields are those of the nearest neighbour.

    Args:
        paths: image files that can be read.
        neighbours: of each image, nearest first; the decoder may read their captions.
        model_path: a model folder with a decoder.

    Raises:
        ModelError: the model has no decoder.
    """
    from medclip_cli.models import open_captioner, writing_options

    captioner, options = open_captioner(model_path), writing_options()
    looked, near = captioner.encode_files(paths, BATCH_SIZE), iter(neighbours)
    while batch := list(islice(looked, BATCH_SIZE)):
        found = list(islice(near, len(batch)))
        grids = np.stack([seen.grid for seen in batch if seen.grid is not None])
        texts = [[neighbour.caption for neighbour in distinct(known)] for known in found]
        for captions, known in zip(captioner.write(grids, texts, options), found, strict=True):
            best = known[0] if known else None
            yield Answer(captions[0].caption, best.fields if best else {}, best.score if best else None)


def baseline_answers(
    corpus: Corpus, rows: list[CaptionedImage], pool: list[CaptionedImage]
) -> dict[str, list[Answer]]:
    """The answers of `BASELINES`, which draw from the same pool as the model.

    Args:
        corpus: where the images are.
        rows: the images that are asked.
        pool: the images that may answer.
    """
    from medclip_cli.scoring import baselines

    rng = np.random.default_rng(BASELINE_SEED)
    chosen = (
        baselines.random_baseline(len(rows), len(pool), rng),
        baselines.most_frequent_baseline(len(rows), [record.caption for record in pool]),
        baselines.pixel_nearest_baseline(_thumbnails(corpus, rows), _thumbnails(corpus, pool)),
        baselines.same_fields(
            [tuple(fields_of(row).values()) for row in rows],
            [tuple(fields_of(record).values()) for record in pool],
            rng,
        ),
    )
    return {
        name: [Answer(pool[i].caption, fields_of(pool[i]), image=corpus.image_path(pool[i])) for i in picks]
        for name, picks in zip(BASELINES, chosen, strict=True)
    }


def fields_of(record: CaptionedImage) -> dict[str, str | None]:
    """The fields an answer should have right."""
    return {name: getattr(record, name) for name in FIELDS}


def _thumbnails(corpus: Corpus, records: Sequence[CaptionedImage]) -> NDArray[np.uint8]:
    from medclip_cli.models import grey_thumbnails

    return grey_thumbnails([corpus.image_path(record) for record in records], THUMBNAIL_SIDE)
