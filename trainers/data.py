"""Joins the pairs of a run to batches, whichever towers are frozen."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.preprocessing import CaptionTokenizer
from trainers.batches import BatchSource, ImageSource, TextSource, TokenCache, TrainingPair
from trainers.features import FrozenImages, FrozenTexts
from trainers.image_cache import Skipped, SquareCache
from trainers.objective import PairEncoder
from trainers.options import ContrastiveOptions
from trainers.processes import Processes


def feed(
    pairs: Sequence[TrainingPair],
    tokenizer: CaptionTokenizer,
    encoder: PairEncoder,
    options: ContrastiveOptions,
    processes: Processes,
    on_skip: Skipped,
) -> BatchSource:
    """Make the source of batches.

    Args:
        pairs: to train on.
        tokenizer: of the text tower.
        encoder: whose frozen towers, if any, are run over all pairs now.
        options: of the run.
        processes: that share every batch.
        on_skip: called once for each image that cannot be read, with its row and the reason.
    """
    spec = options.preset.image_preprocessing
    images: ImageSource = SquareCache([pair.image for pair in pairs], spec, on_skip=on_skip)
    tokens = TokenCache(pairs, tokenizer)
    texts: TextSource = tokens
    if options.cache_frozen and encoder.image_is_frozen:
        images = FrozenImages(encoder, images, len(pairs), spec)
    if options.cache_frozen and encoder.text_is_frozen:
        texts = FrozenTexts(encoder, tokens)
    return BatchSource(
        images,
        texts,
        count=len(pairs),
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        seed=options.seed,
        views=options.views,
        processes=processes,
    )
