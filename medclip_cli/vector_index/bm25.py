"""Captions and queries as sparse BM25 vectors.

Both engines use the encoder of Qdrant Edge (a Rust stemmer and tokenizer, no torch), so that a query asked
of either finds the same captions. Inverse document frequency is the engine's part, at query time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdrant_edge import Bm25

_K1 = 1.2  # Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009
_B = 0.75
_SAMPLE = 2_000
_NUDGE = 1e-3


def caption_encoder(average_words: float) -> Bm25:
    """Return the encoder of a collection whose captions have `average_words` tokens on average."""
    from qdrant_edge import Bm25, Bm25Config

    return Bm25(Bm25Config(k=_K1, b=_B, avg_len=max(1.0, average_words), language="english"))


def encode_caption(encoder: Bm25, caption: str, point_id: str) -> tuple[list[int], list[float]]:
    """Return indices and values of a caption's sparse vector, as both engines store it.

    Many scans share a caption, and reciprocal rank fusion asks who comes first among them. Each point's
    weights are raised by its own share of a thousandth, taken from its id, so that the answer does not
    depend on the engine or on the order of writing.
    """
    encoded = encoder.embed_document(caption)
    share = int(uuid.UUID(point_id)) % 65_536 / 65_536
    return encoded.indices, [weight * (1.0 + _NUDGE * share) for weight in encoded.values]


def average_length(captions: Iterable[str]) -> float:
    """Return the mean number of tokens of the captions, after stop words; 20 when there are none."""
    from qdrant_edge import Bm25, Bm25Config

    # Without length normalisation a weight is tf (k + 1) / (tf + k), which gives each term's count back.
    encoder = Bm25(Bm25Config(k=_K1, b=0.0, language="english"))
    lengths = [
        sum(_K1 * weight / (_K1 + 1 - weight) for weight in encoder.embed_document(caption).values)
        for caption in islice(captions, _SAMPLE)
    ]
    return round(sum(lengths) / len(lengths), 2) if lengths else 20.0
