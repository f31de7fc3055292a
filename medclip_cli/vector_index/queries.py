"""What one may ask of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medclip_cli.errors import UsageError
from medclip_cli.vector_index.conditions import Condition

Vector = NDArray[np.float32]
Mode = Literal["dense", "words", "hybrid"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a collection.

    Attributes:
        image_vector: ``[dim]``, an example image; compared with the stored ``image`` vectors.
        text_vector: ``[dim]``, embedded words; compared with the stored ``caption`` vectors, which
            found the modality, view and region asked for more often than ``image`` vectors did on MedPix.
        words: plain words, compared with the captions by BM25.
        mode: ``dense`` ranks by cosine of the vectors, ``words`` by BM25, ``hybrid`` fuses both.
        top: how many neighbours.
        where: filters; all must hold.
        min_score: leave out neighbours whose shown score is lower.
        exclude_groups: patients or cases that may not answer.
        exact: compare with every vector instead of walking the approximate graph.
        against: compares every vector with the stored ones of this name instead.
        fusion: ``rrf`` adds reciprocal ranks (Cormack et al., SIGIR 2009), ``dbsf`` normalised scores.
        weights: of the dense and the words ranking in ``rrf``; None takes those learnt for the collection.
        diversity: 0 ranks by likeness alone, up to 1 by difference from what is already chosen (maximal
            marginal relevance, Carbonell and Goldstein, SIGIR 1998); None leaves the ranking as it is.
        examples: further example images; each makes a ranking of its own, and all are fused by rank.
            `examples.combine` is the other way: one vector made of several.
    """

    image_vector: Vector | None = None
    text_vector: Vector | None = None
    words: str | None = None
    mode: Mode = "dense"
    top: int = 5
    where: tuple[Condition, ...] = ()
    min_score: float | None = None
    exclude_groups: frozenset[str] = frozenset()
    exact: bool = False
    against: Literal["image", "caption"] | None = None
    fusion: Literal["rrf", "dbsf"] = "rrf"
    weights: tuple[float, float] | None = None
    diversity: float | None = None
    examples: tuple[Vector, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what only looks like text: no engine and no tokenizer takes lone surrogates.

        Raises:
            UsageError: words, a filter or a group that came from bytes that are no UTF-8.
        """
        values = (value for condition in self.where for value in condition.values)
        for text in (self.words or "", *self.exclude_groups, *values):
            if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
                raise UsageError(f"{text!a} is not UTF-8 text: look at the encoding of the terminal")

    @property
    def asks_words(self) -> bool:
        """Whether captions are compared by BM25."""
        return self.mode != "dense" and bool((self.words or "").strip())

    @property
    def compared_vectors(self) -> list[tuple[Vector, str]]:
        """The vectors that are compared by cosine, each with the name of the stored ones."""
        images, texts = (self.image_vector, *self.examples), (self.text_vector,)
        given = [(vector, "image") for vector in images] + [(vector, "caption") for vector in texts]
        if self.mode == "words":
            return []
        return [(vector, self.against or name) for vector, name in given if vector is not None]

    def arm_weights(self, arms: int, learnt: tuple[float, float]) -> list[float]:
        """Return the weight of each of so many rankings: those of vectors first, that of the words last."""
        dense, words = self.weights or learnt
        return [dense] * (arms - 1) + [words] if self.asks_words else [1.0] * arms

    def check(self) -> None:
        """Refuse a question that cannot be answered; a hybrid one makes do with what it is given.

        Raises:
            UsageError: nothing to compare with in this mode, or a number out of range.
        """
        if not self.asks_words and not self.compared_vectors:
            needed = {"dense": "an image or words to embed", "words": "words to look for"}
            raise UsageError(f"mode {self.mode} needs {needed.get(self.mode, 'an image or words')}")
        if self.top < 1:
            raise UsageError(f"the number of neighbours must be 1 or more, not {self.top}")
        if self.weights is not None and (min(self.weights) < 0 or max(self.weights) == 0):
            raise UsageError(f"fusion weights must be 0 or more and not both 0, not {self.weights}")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise UsageError(f"diversity lies between 0 and 1, not {self.diversity}")
