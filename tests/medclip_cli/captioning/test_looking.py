"""Attention is drawn over the very square that the image tower saw, however a scan was fitted into it."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from encoders.preprocessing import ImagePreprocessing, load_image, normalize_image
from medclip_cli.captioning.cards import answer_card
from medclip_cli.captioning.predictor import Answer
from medclip_cli.models import Captioner

SIDE, CELLS = 32, 4


class BrightestCell:
    """Stands in for a decoder: its grid is how bright each cell of the pixels is."""

    retrieve, config = 0, SimpleNamespace(max_tokens=10)

    def encode(self, pixels):
        self.seen = pixels
        parts = pixels.mean(axis=1).reshape(len(pixels), CELLS, SIDE // CELLS, CELLS, SIDE // CELLS)
        grid = parts.mean(axis=(2, 4)).reshape(len(pixels), CELLS * CELLS, 1)
        return np.zeros((len(pixels), 2), dtype=np.float32), grid.astype(np.float32)


@pytest.fixture
def scan(tmp_path):
    """A wide scan with a bright lesion right of its middle."""
    grey = np.full((60, 120), 10, dtype=np.uint8)
    grey[18:26, 66:74] = 250
    Image.fromarray(grey).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
def test_the_brightest_cell_lies_where_the_shown_square_is_brightest(scan, fit):
    spec = ImagePreprocessing(SIDE, (0.5,) * 3, (0.5,) * 3, fit=fit)
    tower = BrightestCell()
    (looked,) = Captioner(tower, spec).encode_files([scan])
    square = looked.embedded.image
    np.testing.assert_array_equal(square, load_image(scan, spec))
    np.testing.assert_array_equal(tower.seen[0], normalize_image(square, spec))
    row, column = divmod(int(looked.grid[:, 0].argmax()), CELLS)
    across, down = np.unravel_index(square[..., 0].argmax(), (SIDE, SIDE))
    assert (across // (SIDE // CELLS), down // (SIDE // CELLS)) == (row, column)

    answer = Answer(str(scan), "a lesion", "generate", source=scan, pixels=square)
    card = answer_card(answer)
    assert (card.question, card.caption, card.pictures) == (str(scan), "a lesion", [scan])
    shown = np.asarray(Image.open(io.BytesIO(card.attended)).convert("L"), dtype=int)
    np.testing.assert_allclose(shown, square[..., 0].astype(int), atol=40)
