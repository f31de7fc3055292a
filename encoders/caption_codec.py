"""Captions to the tokens a decoder writes, and back again without loss (tokenizers only, no torch).

The encoders' own tokenizer may lower-case and part ``T2-weighted`` into three words; what a decoder writes is
read by people, so it has a tokenizer of its own: byte-level byte-pair encoding learned on the corpus, where
common words are one token and any other text still has some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from encoders.errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, START, END)
PAD_ID, START_ID, END_ID = range(3)


class CaptionCodec:
    """Encodes captions as token ids between a start and an end token, and decodes what was generated."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wrap a tokenizer whose first three tokens are ``SPECIAL``."""
        self._tokenizer = tokenizer
        # A caption that says "</s>" has these letters in it, and no end.
        tokenizer.encode_special_tokens = True

    @classmethod
    def from_bytes(cls, data: bytes) -> CaptionCodec:
        """Read what `to_bytes` wrote.

        Raises:
            BundleError: it is no tokenizer of a decoder.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the library raises plain Exception
            raise BundleError("the decoder's tokenizer cannot be read: train the decoder again") from error
        if [tokenizer.token_to_id(token) for token in SPECIAL] != [PAD_ID, START_ID, END_ID]:
            raise BundleError("the decoder's tokenizer lacks its special tokens: train the decoder again")
        return cls(tokenizer)

    def to_bytes(self) -> bytes:
        """The content of a ``tokenizer.json``."""
        text: str = self._tokenizer.to_str(pretty=False)
        return text.encode("utf-8")

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, captions: Sequence[str], max_tokens: int) -> np.ndarray:
        """Token ids of captions.

        Args:
            captions: b of them.
            max_tokens: longest row, start and end included; a longer caption loses its end, and so its end
                token.

        Returns:
            int64 ``[b, s]``, padded with ``PAD_ID`` to the longest row.
        """
        rows = [
            [START_ID, *encoding.ids, END_ID][:max_tokens]
            for encoding in self._tokenizer.encode_batch(list(captions), add_special_tokens=False)
        ]
        ids = np.full((len(rows), max((len(row) for row in rows), default=1)), PAD_ID, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, on one line."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return " ".join(text.split())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token by itself, with the blank that comes before it."""
        return [self._tokenizer.decode([token], skip_special_tokens=True) for token in ids]


def train_codec(captions: Iterable[str], vocab_size: int) -> CaptionCodec:
    """Learn byte-pair merges on captions (Sennrich et al., https://arxiv.org/abs/1508.07909).

    Args:
        captions: of the training split; sorted first, so that their order changes nothing.
        vocab_size: at most so many tokens, the 256 bytes and the special ones included.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(captions), trainer)
    return CaptionCodec(tokenizer)
