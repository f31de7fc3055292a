"""One query vector out of several example images, those to look like and those to look unlike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medclip_cli.errors import UsageError
from medclip_cli.vector_index.base import Vector


def combine(like: Sequence[Vector], unlike: Sequence[Vector] = ()) -> Vector:
    """Return the unit vector that lies amid `like` and away from `unlike`.

    The sum is Qdrant's "average vector" strategy of recommendation, ``2 mean(like) - mean(unlike)``
    (https://qdrant.tech/documentation/concepts/explore/#average-vector-strategy). One vector goes to the
    index, so that the answers' scores stay cosines.

    Args:
        like: ``[dim]`` each, unit length, at least one.
        unlike: ``[dim]`` each, unit length.

    Raises:
        UsageError: nothing to look like, or the two sides cancel out.
    """
    if not like:
        raise UsageError("an image to look unlike needs one to look like: add --image FILE")
    amid: Vector = np.mean(np.stack(like), axis=0, dtype=np.float32)
    if unlike:
        amid = 2 * amid - np.mean(np.stack(unlike), axis=0, dtype=np.float32)
    length = np.linalg.norm(amid)
    if length < 1e-6:
        raise UsageError("the example images cancel each other out: use fewer, or others")
    return np.divide(amid, length, dtype=np.float32)
