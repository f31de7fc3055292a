import numpy as np
import pytest
from PIL import Image

from encoders.errors import BundleError, ScanError
from encoders.preprocessing import (
    CaptionTokenizer,
    ImagePreprocessing,
    fit_image,
    load_image,
    normalize_image,
)

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.5)


def spec(fit="pad", size=32):
    return ImagePreprocessing(size=size, mean=MEAN, std=STD, fit=fit)


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("size", [(64, 32), (31, 77), (20, 20), (1000, 16)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_picture_becomes_the_square(fit, size, mode):
    square = fit_image(Image.new(mode, size, "white"), spec(fit))
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
    assert square[16, 16].tolist() == [255, 255, 255]


def test_pad_keeps_the_proportions_and_fills_with_black():
    square = fit_image(Image.new("L", (64, 32), 200), spec("pad"))
    assert (square[:8] == 0).all() and (square[24:] == 0).all()
    assert (square[8:24] == 200).all()


def test_crop_keeps_the_middle():
    picture = np.zeros((32, 96), dtype=np.uint8)
    picture[:, 32:64] = 255
    assert (fit_image(Image.fromarray(picture), spec("crop")) == 255).all()


def test_squash_keeps_everything():
    picture = np.zeros((32, 64), dtype=np.uint8)
    picture[:, 32:] = 255
    square = fit_image(Image.fromarray(picture), spec("squash"))
    assert (square[:, :15] == 0).all() and (square[:, 17:] == 255).all()


def test_normalisation_is_per_channel_and_channels_come_first():
    square = np.zeros((4, 6, 3), dtype=np.uint8)
    square[..., 0], square[..., 1], square[..., 2] = 255, 51, 0
    pixels = normalize_image(square, spec())
    assert pixels.shape == (3, 4, 6)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    expected = [(1 - 0.5) / 0.25, (0.2 - 0.4) / 0.2, (0 - 0.3) / 0.5]
    np.testing.assert_allclose(pixels[:, 0, 0], expected, rtol=1e-5)


def test_a_file_becomes_pixels(tmp_path):
    Image.new("L", (640, 480), 255).save(tmp_path / "scan.jpg")
    pixels = normalize_image(load_image(tmp_path / "scan.jpg", spec()), spec())
    assert pixels.shape == (3, 32, 32)
    np.testing.assert_allclose(pixels[0, 16, 16], 2.0, atol=0.05)
    with pytest.raises(ScanError, match="no such file"):
        normalize_image(load_image(tmp_path / "none.jpg", spec()), spec())


def test_captions_are_padded_to_the_longest_of_the_batch(tokenizer):
    ids, mask = tokenizer(["axial CT", "axial CT of the brain depicting glioblastoma"])
    assert ids.shape == mask.shape
    assert ids.dtype == mask.dtype == np.int64
    assert mask[1].all()
    assert mask[0].tolist() == [1] * 4 + [0] * (mask.shape[1] - 4)
    assert (ids[0, 4:] == 0).all()


def test_captions_are_cut_at_max_tokens(tokenizer):
    ids, _ = tokenizer(["axial CT of the brain " * 20])
    assert ids.shape == (1, tokenizer.max_tokens) == (1, 16)
    # The end marker survives the cut.
    assert ids[0, -1] == tokenizer(["axial"])[0][0, -1]


def test_no_captions_are_no_rows(tokenizer):
    ids, mask = tokenizer([])
    assert len(ids) == len(mask) == 0


def test_an_empty_caption_has_only_its_markers(tokenizer):
    ids, mask = tokenizer([""])
    assert ids.shape == (1, 2)
    assert mask.all()


def test_a_tokenizer_survives_its_file(tokenizer):
    again = CaptionTokenizer.from_bytes(tokenizer.to_bytes())
    texts = ["axial CT", "sagittal MR of an unknown wörd"]
    for one, other in zip(tokenizer(texts), again(texts), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.max_tokens, again.vocab_size) == (tokenizer.max_tokens, tokenizer.vocab_size)


def test_a_damaged_tokenizer_file_says_so():
    with pytest.raises(BundleError, match="cannot be read as a tokenizer"):
        CaptionTokenizer.from_bytes(b"{}")


def test_a_tokenizer_file_without_padding_says_so():
    from tokenizers import Tokenizer, models

    data = Tokenizer(models.WordPiece(vocab={"[UNK]": 0}, unk_token="[UNK]")).to_str().encode()
    with pytest.raises(BundleError, match="how to truncate and pad"):
        CaptionTokenizer.from_bytes(data)
