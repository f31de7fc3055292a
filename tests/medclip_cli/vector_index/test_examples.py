import numpy as np
import pytest

from medclip_cli.errors import UsageError
from medclip_cli.vector_index.examples import combine

from .drawn import draw_vector

X, Y = np.eye(2, dtype=np.float32)


def test_one_example_is_itself():
    np.testing.assert_allclose(combine([draw_vector(1)]), draw_vector(1), rtol=1e-6)


def test_several_examples_are_averaged():
    np.testing.assert_allclose(combine([X, Y]), [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_unlike_examples_push_away():
    combined = combine([X], [Y])
    np.testing.assert_allclose(combined, np.array([2, -1]) / 5**0.5, rtol=1e-6)
    assert combined.dtype == np.float32


def test_nothing_to_look_like_is_refused():
    with pytest.raises(UsageError, match="needs one to look like: add --image FILE"):
        combine([], [X])


def test_examples_that_cancel_out_are_refused():
    with pytest.raises(UsageError, match="cancel each other out"):
        combine([X, -X])
