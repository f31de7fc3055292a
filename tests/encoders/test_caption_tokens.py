import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.captioner import SPECIAL, CaptionCodec, train_codec
from encoders.errors import BundleError
from encoders.generation import END_ID, PAD_ID, START_ID

CAPTIONS = ["Axial T2-weighted MR of the brain", "Axial CT of the chest, 3.5 cm mass"] * 3
CODEC = train_codec(CAPTIONS, 400)


@pytest.mark.parametrize("caption", CAPTIONS[:2])
def test_known_words_are_single_tokens_and_come_back_as_they_were(caption):
    ids = CODEC.encode([caption], 64)[0]
    assert CODEC.decode(ids) == caption
    assert (ids[0], ids[-1]) == (START_ID, END_ID)
    assert " Axial" in CODEC.pieces(ids)


@given(st.text())
def test_any_text_comes_back_but_for_its_white_space(text):
    assert CODEC.decode(CODEC.encode([text], 10_000)[0]).split() == text.split()


@pytest.mark.parametrize("token", SPECIAL)
def test_a_special_token_in_a_caption_is_but_letters(token):
    again = CaptionCodec.from_bytes(CODEC.to_bytes())
    for codec in (CODEC, again):
        ids = codec.encode([f"Axial {token} CT"], 64)[0]
        assert codec.decode(ids) == f"Axial {token} CT"
        assert not set(ids[1:-1]) & {PAD_ID, START_ID, END_ID}


def test_rows_are_padded_and_cut():
    ids = CODEC.encode(["Axial", CAPTIONS[1]], 6)
    assert ids.shape == (2, 6)
    assert (ids[0] == PAD_ID).any()
    assert END_ID in ids[0]
    assert END_ID not in ids[1]


def test_nothing_to_encode():
    assert CODEC.encode([], 6).shape == (0, 1)


def test_the_order_of_the_captions_changes_nothing():
    assert train_codec(CAPTIONS[::-1], 400).to_bytes() == CODEC.to_bytes()
    assert CODEC.vocab_size <= 400


def test_it_survives_its_file():
    again = CaptionCodec.from_bytes(CODEC.to_bytes())
    assert again.encode(CAPTIONS, 64).tolist() == CODEC.encode(CAPTIONS, 64).tolist()
    assert again.vocab_size == CODEC.vocab_size


def test_another_tokenizer_is_refused():
    from encoders.text import train_wordpiece

    with pytest.raises(BundleError, match="lacks its special tokens"):
        CaptionCodec.from_bytes(train_wordpiece(CAPTIONS, 100, 16).to_bytes())
    with pytest.raises(BundleError, match="cannot be read"):
        CaptionCodec.from_bytes(b"\xff\xfe")


def test_special_tokens_are_never_written_out():
    assert CODEC.decode([START_ID, END_ID, PAD_ID]) == ""
    assert len(SPECIAL) == 3
