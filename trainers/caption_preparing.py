"""Everything of a decoder run that is settled before its first step: what is seen, read and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoders.bundle import ModelBundle
from encoders.caption_codec import CaptionCodec, train_codec
from encoders.dual import DualEncoder, load_dual_encoder
from encoders.errors import DataError
from trainers.batches import PairSplits, TrainingPair
from trainers.caption_data import CaptionFeed, RetrievalBank, texts_of
from trainers.caption_evaluation import CaptionJudge, ScoreCaptions
from trainers.caption_examples import GridCache, Views
from trainers.caption_listeners import CaptionListener
from trainers.captioning_options import CaptioningOptions
from trainers.device import Placement
from trainers.processes import Processes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a decoder learns from and is judged by.

    Attributes:
        encoder: the frozen dual encoder, in evaluation mode.
        codec: the decoder's tokenizer, learned on the training captions.
        feed: the batches.
        judge: None in processes that do not judge.
        grid: cells and channels of what the image tower sees.
        captions: training images that can be read.
        skipped: images that cannot.
    """

    encoder: DualEncoder
    codec: CaptionCodec
    feed: CaptionFeed
    judge: CaptionJudge | None
    grid: tuple[int, int]
    captions: int
    skipped: int


def prepare(
    splits: PairSplits,
    bundle: ModelBundle,
    options: CaptioningOptions,
    score: ScoreCaptions,
    placement: Placement,
    listener: CaptionListener,
    processes: Processes,
) -> Prepared:
    """Run the frozen image tower over all images, in every process; only the first one judges.

    Raises:
        DataError: no training or no validation image can be read.
        ModelError: the encoder is damaged or its image tower has no grid.
    """
    encoder = load_dual_encoder(bundle).to(placement.device).eval()
    codec = train_codec((text for pair in splits.train for text in texts_of(pair)), options.vocab_size)
    views = Views(options.views, options.augmentation, options.seed)
    judged = splits.validation if processes.is_first else ()
    eye = _Eye(encoder, bundle, placement, listener, views.count * len(splits.train) + len(judged))
    seen = eye.see(splits.train, views)
    library = RetrievalBank(splits.train, seen, codec, options)
    feed = CaptionFeed(splits.train, seen, codec, library, options, processes)
    judge = None
    if processes.is_first:
        asked = eye.see(splits.validation, Views())
        judge = CaptionJudge(splits.validation, asked, codec, library, options, score)
    return Prepared(encoder, codec, feed, judge, seen.shape, len(seen.rows), eye.skipped)


class _Eye:
    """Looks at images and counts those that cannot be read."""

    def __init__(
        self,
        encoder: DualEncoder,
        bundle: ModelBundle,
        placement: Placement,
        listener: CaptionListener,
        total: int,
    ) -> None:
        self._encoder, self._spec, self._placement = encoder, bundle.config.image, placement
        self._listener, self._total = listener, total
        self.skipped = 0

    def see(self, pairs: Sequence[TrainingPair], views: Views) -> GridCache:
        cache = GridCache(
            pairs,
            self._encoder,
            self._spec,
            self._placement,
            on_skip=self._skip,
            on_seen=lambda count: self._listener.on_seen(count * views.count, self._total),
            views=views,
        )
        if not len(cache.rows):
            raise DataError(f"none of {len(pairs)} images can be read: a decoder needs train and val images")
        return cache

    def _skip(self, pair_id: str, image: Path, reason: str) -> None:
        self.skipped += 1
        self._listener.on_skip(pair_id, image, reason)
