"""Judges a decoder by the greedy captions that it writes of the validation images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from encoders.caption_codec import CaptionCodec
from encoders.decoder import Decoder
from encoders.generation import GenerationOptions
from trainers.batches import TrainingPair
from trainers.caption_data import RetrievalBank, texts_of
from trainers.caption_examples import GridCache
from trainers.captioning_options import CaptioningOptions
from trainers.torch_captions import generate_with_torch

DECIDING_SCORE = "cider"
# Captions and their references to scores by name, `DECIDING_SCORE` among them.
ScoreCaptions = Callable[[Sequence[str], Sequence[Sequence[str]]], Mapping[str, float]]


class CaptionJudge:
    """Writes a caption of each validation image and has them scored."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        seen: GridCache,
        codec: CaptionCodec,
        library: RetrievalBank,
        options: CaptioningOptions,
        score: ScoreCaptions,
    ) -> None:
        """Judge by the images that were seen, each told from the training images nearest to it."""
        self._seen, self._codec, self._library = seen, codec, library
        self._options, self._score = options, score
        self._near = library.nearest(pairs, seen)
        self._references = [texts_of(pairs[row]) for row in seen.rows]

    @property
    def pool(self) -> int:
        """Images that can be read."""
        return len(self._references)

    def scores(self, decoder: Decoder) -> dict[str, float]:
        """Scores of a decoder, which is left in evaluation mode."""
        return dict(self._score(self.captions(decoder), self._references))

    def captions(self, decoder: Decoder) -> list[str]:
        """What a decoder writes of each image."""
        options = GenerationOptions(beam=1, max_tokens=self._options.max_tokens - 1)
        captions, rows = [], self._seen.rows
        for first in range(0, len(rows), self._options.batch_size):
            part = slice(first, first + self._options.batch_size)
            retrieved = self._library.read(self._near[part])
            found = generate_with_torch(decoder, self._seen.grids(rows[part]), retrieved, options)
            captions += [self._codec.decode(one[0].tokens) for one in found]
        return captions
