"""From the neighbours of an image to its answer: a caption, how sure it is, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.captioning.calibration import FILE_NAME, Calibration
from medclip_cli.captioning.confidence import features_of
from medclip_cli.captioning.consensus import (
    POOL,
    Vote,
    bleu_kernel,
    consensus,
    distinct,
    similarity_weights,
    vote,
)
from medclip_cli.captioning.session import with_paths
from medclip_cli.errors import UsageError
from medclip_cli.records import Neighbour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from encoders.captioner import GeneratedCaption
    from encoders.generation import GenerationOptions
    from medclip_cli.models import Model, Source
    from medclip_cli.vector_index.base import Condition, VectorIndex

METHODS = ("auto", "nearest", "consensus", "generate")
BATCH_SIZE = 8  # small, so that the first answer of a long list comes soon
NO_MATCH = "no reliable match"


@dataclass(frozen=True, slots=True)
class Answer:
    """One image with its caption, or the reason why there is none.

    Attributes:
        image: its path as it was given; ``-`` for an open file.
        caption: None where no caption is better than a wrong one, or the image cannot be read.
        method: that made it: ``nearest``, ``consensus`` or ``generate``.
        score: cosine similarity of the neighbour whose caption it is; of the nearest for a generated one.
        confidence: probability that its modality, view and region are right; None where it was not measured.
        votes: of the neighbours on each field.
        reason: why there is no caption.
        error: why the image cannot be read.
        neighbours: the ``k`` nearest, nearest first, and `lender` where it is further away.
        lender: the neighbour whose caption it is; None for a generated one.
        generated: captions that a decoder wrote, best first.
        reference_scores: of the caption beside the true ones, by name, where those are known.
        model: name of the model.
        collection: name of the collection.
        source: the image file itself.
        pixels: the model's input, uint8 ``[side, side, 3]``.
    """

    image: str
    caption: str | None = None
    method: str | None = None
    score: float | None = None
    confidence: float | None = None
    votes: dict[str, Vote] = field(default_factory=dict)
    reason: str | None = None
    error: str | None = None
    neighbours: tuple[Neighbour, ...] = ()
    lender: Neighbour | None = None
    generated: tuple[GeneratedCaption, ...] = ()
    reference_scores: dict[str, float] | None = None
    model: str = ""
    collection: str = ""
    source: Source | None = field(default=None, repr=False, compare=False)
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    def to_dict(self, *, fields: bool = False) -> dict[str, Any]:
        """As `medclip caption --json` prints it.

        Args:
            fields: with the votes of the neighbours, as ``--fields`` asks for.
        """
        if self.error is not None:
            return {"image": self.image, "caption": None, "error": self.error}
        names = ("image", "caption", "method", "score", "confidence")
        record: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.reason is not None:
            record["reason"] = self.reason
        if self.generated:
            record["captions"] = [{"caption": one.caption, "score": one.score} for one in self.generated]
        if fields:
            record["fields"] = {
                name: {"value": vote.value, "share": vote.share, "shares": dict(vote.shares)}
                for name, vote in self.votes.items()
            }
        if self.reference_scores is not None:
            record["reference_scores"] = self.reference_scores
        record["neighbours"] = [{**one.to_dict(), "lent": one is self.lender} for one in self.neighbours]
        return record | {"model": self.model, "collection": self.collection}

    def _repr_html_(self) -> str:
        from medclip_cli import pages
        from medclip_cli.captioning.cards import answer_card

        return pages.answers([answer_card(self)])


@dataclass(frozen=True, slots=True)
class Predictor:
    """Answers images from their neighbours in a collection."""

    index: VectorIndex
    model: Model  # that made it
    method: str = "nearest"  # ``nearest``, ``consensus`` or ``generate``
    calibration: Calibration | None = None  # of the model, if it has one
    min_confidence: float = 0.0  # an answer that is less sure than this has no caption
    top: int = 5  # how many neighbours an answer shows
    where: tuple[Condition, ...] = ()  # conditions on the neighbours; all must hold
    min_score: float | None = None  # neighbours with a lower score neither answer nor are shown
    writing: GenerationOptions | None = None  # how a decoder searches for captions
    # the patients, cases or articles of an image, where they are known: they must not answer
    own_groups: Callable[[Source], frozenset[str]] | None = None

    def predict(self, sources: Iterable[Source]) -> Iterator[Answer]:
        """Answer each image file, in order; one that cannot be read costs only itself.

        Raises:
            ModelError: captions are to be generated and the model has no decoder.
        """
        if self.method != "generate":
            for one in self.model.embed_files(sources, BATCH_SIZE):
                if one.vector is None:
                    yield Answer(label_of(one.source), error=one.error or "cannot be read", source=one.source)
                else:
                    yield self._answer(one.source, one.image, *self._neighbours(one.source, one.vector))
            return
        import numpy as np

        from encoders.generation import GenerationOptions
        from medclip_cli.models import open_captioner

        captioner, options = open_captioner(self.model.path), self.writing or GenerationOptions()
        images = captioner.encode_files(sources, BATCH_SIZE)
        while batch := list(islice(images, BATCH_SIZE)):
            found = {
                image.embedded.index: self._neighbours(image.embedded.source, image.embedded.vector)
                for image in batch
                if image.embedded.vector is not None
            }
            texts = [[near.caption for near in distinct(neighbours)] for neighbours, _ in found.values()]
            grids = [image.grid for image in batch if image.grid is not None]
            generated = iter(captioner.write(np.stack(grids), texts, options) if grids else ())
            for image in batch:
                source, error = image.embedded.source, image.embedded.error
                if image.grid is None:
                    yield Answer(label_of(source), error=error or "cannot be read", source=source)
                else:
                    neighbours, scores = found[image.embedded.index]
                    yield self._answer(source, image.embedded.image, neighbours, scores, next(generated))

    def _neighbours(self, source: Source, vector: NDArray[np.float32]) -> tuple[list[Neighbour], list[float]]:
        """The neighbours that may answer, and the scores of the nearest without conditions.

        An image far from the CT scans that `where` allows may be near to others, and so in the domain.
        """
        from medclip_cli.vector_index.base import Query

        own = self.own_groups(source) if self.own_groups else frozenset[str]()
        query = Query(
            image_vector=vector,
            top=max(self.top, POOL),
            where=self.where,
            min_score=self.min_score,
            exclude_groups=own,
        )
        queries = [query]
        if self.where or self.min_score is not None:
            queries.append(replace(query, top=POOL, where=(), min_score=None))
        neighbours, *unfiltered = self.index.query(queries)
        return neighbours, [one.score for one in (unfiltered[0] if unfiltered else neighbours)]

    def _answer(
        self,
        source: Source,
        pixels: NDArray[np.uint8] | None,
        neighbours: Sequence[Neighbour],
        scores: Sequence[float],
        generated: Sequence[GeneratedCaption] = (),
    ) -> Answer:
        info = self.index.info
        answer = Answer(
            label_of(source),
            method=self.method,
            model=info.model_name,
            collection=info.name,
            source=source,
            pixels=pixels,
        )
        if not neighbours:
            if self.min_score is not None:
                return replace(
                    answer, reason=f"no known image that matches scores {self.min_score:g} or more"
                )
            return replace(answer, reason="no known image matches the conditions")
        near = distinct(neighbours)
        lender = None
        if generated:
            caption, score = generated[0].caption, neighbours[0].score
            support, votes = support_of(caption, near)
        else:
            chosen, support, votes = choose(self.method, near)
            lender = near[chosen]
            caption, score = lender.caption, lender.score
        confidence = reason = None
        if self.calibration is not None:
            features = features_of([one.score for one in near], votes, support)
            confidence = self.calibration.confidence(self.method, features)
            reason = self._doubt(self.calibration, scores, pixels, confidence)
        if reason is not None:
            lender = None
        shown = list(neighbours[: self.top])
        if lender is not None and not any(one is lender for one in shown):
            shown.append(lender)
        located = with_paths(shown, info)
        return replace(
            answer,
            caption=None if reason else caption,
            score=score,
            confidence=confidence,
            votes=votes,
            reason=reason,
            neighbours=tuple(located),
            lender=next((there for one, there in zip(shown, located, strict=True) if one is lender), None),
            generated=tuple(generated),
        )

    def _doubt(
        self,
        calibration: Calibration,
        scores: Sequence[float],
        pixels: NDArray[np.uint8] | None,
        confidence: float | None,
    ) -> str | None:
        if calibration.looks_foreign(pixels):
            return f"{NO_MATCH}: the image does not look like the scans that are known"
        if calibration.is_far(scores):
            return f"{NO_MATCH}: the image is further from everything known than scans are"
        if confidence is not None and confidence < self.min_confidence:
            return f"{NO_MATCH}: confidence {confidence:.2f} is under {self.min_confidence:g}"
        return None


def calibrated(model: Model, method: str, min_confidence: float | None) -> tuple[str, Calibration | None]:
    """Return the method that ``auto`` means for this model, and what was measured of it.

    Raises:
        UsageError: no such method, or a minimum confidence is set and none was measured.
        ModelError: the model's calibration is damaged.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r} is not one of {', '.join(METHODS)}")
    text = model.read_addition(FILE_NAME)
    measured = Calibration.from_json(text) if text is not None else None
    if measured is None and min_confidence is not None:
        raise UsageError(
            f"model {model.name} has no measure of confidence: run medclip train confidence CORPUS "
            f"--model {model.path}, or leave out min_confidence"
        )
    if measured is not None and min_confidence is not None and not measured.knows_confidence:
        raise UsageError(
            f"model {model.name} has no measure of confidence: too few val images of {measured.corpus} have "
            "a modality, view or region to check answers against; leave out min_confidence"
        )
    if method == "auto":
        method = measured.best_method if measured else "nearest"
    return method, measured


def choose(method: str, neighbours: Sequence[Neighbour]) -> tuple[int, float, dict[str, Vote]]:
    """Choose a caption among the neighbours'.

    Returns:
        Which one, how much the neighbours support it (0 to 1), and their votes on the fields.
    """
    weights = similarity_weights([neighbour.score for neighbour in neighbours])
    agreed = consensus([neighbour.caption for neighbour in neighbours], weights)
    chosen = agreed.index if method == "consensus" else 0
    return chosen, float(agreed.support[chosen]), vote([one.fields for one in neighbours], weights)


def support_of(caption: str, neighbours: Sequence[Neighbour]) -> tuple[float, dict[str, Vote]]:
    """How much the neighbours support a caption that none of them need have, and their votes."""
    weights = similarity_weights([neighbour.score for neighbour in neighbours])
    similarity = bleu_kernel([caption, *(neighbour.caption for neighbour in neighbours)])[0, 1:]
    return float(similarity @ weights), vote([one.fields for one in neighbours], weights)


def label_of(source: Source) -> str:
    """What an answer calls its image: the path as it was given, or ``-`` for an open file."""
    return str(source) if isinstance(source, Path) else "-"
