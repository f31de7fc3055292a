"""``MODEL_CARD.md``: a model's shape, training and validation scores, written from its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encoders.bundle import ModelConfig

CARD_FILE = "MODEL_CARD.md"
_NO_RECIPE = frozenset({"preset", "force", "resume", "offline", "checkpoint_steps", "cache_frozen"})
_LIMITS = """## Limits

It knows the modalities, regions, devices and habits of wording of its corpus, and their biases; on others its
neighbours may be confident and wrong. Similar vectors do not mean the same diagnosis."""


def write_card(config: ModelConfig, options: Mapping[str, Any]) -> str:
    """Markdown of a model, with its training and validation scores, and its run's options (plain values)."""
    parts = (_head(config), _training(config, options), _validation(config.validation), _LIMITS)
    return "\n\n".join(parts) + "\n"


def _head(config: ModelConfig) -> str:
    shape = {
        "image encoder": config.image_encoder,
        "text encoder": config.text_encoder,
        "image": f"{config.image.size} x {config.image.size} pixels, {config.image.fit}",
        "caption": f"up to {config.max_tokens} tokens of {config.vocab_size:,}",
        "vectors": f"{config.embedding_dim} dimensions, unit length ({config.projection} heads)",
    }
    return (
        f"# Dual encoder `{config.preset}`\n\n"
        "Embeds medical images and captions in one space, for finding one by the other.\n"
        "**For research. Not a medical device: no diagnosis may rest on it.**\n\n"
        f"## Shape\n\n{_table(shape)}"
    )


def _training(config: ModelConfig, options: Mapping[str, Any]) -> str:
    run = config.trained_on
    corpus, captions = run.get("corpus", "unnamed"), run.get("caption_style") or "as they are"
    chosen = {name: value for name, value in options.items() if name not in _NO_RECIPE}
    how_it_ended = "interrupted" if run.get("interrupted") else "finished"
    return (
        f"## Training\n\nCorpus `{corpus}` (captions: {captions}): {run['pairs']:,} pairs of "
        f"{run['groups']:,} patients, cases or articles, of which {run['skipped']:,} images could not be "
        f"read. The run was {how_it_ended} after {run['epochs']} epochs ({run['steps']:,} steps, "
        f"{run['seconds']:.0f} s on {run['device']}, {run['precision']}). The weights are those of epoch "
        f"{run['best_epoch']}, the one with the highest mean recall.\n\n{_table(chosen)}"
    )


def _validation(scores: Mapping[str, Any]) -> str:
    ways = {"image to text": scores["image_to_text"], "text to image": scores["text_to_image"]}
    rows = "\n".join(
        f"| {name} | {way['r1']:.3f} | {way['r5']:.3f} | {way['r10']:.3f} | {way['median_rank']:g} |"
        for name, way in ways.items()
    )
    return (
        f"## Validation\n\nRecall among {scores['pool']:,} held-out pairs; equal captions are right. The "
        "epoch was chosen by these numbers, so expect a little less on data of your own.\n\n"
        f"| query | R@1 | R@5 | R@10 | median rank |\n|---|---|---|---|---|\n{rows}"
    )


def _table(values: Mapping[str, object]) -> str:
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in values.items())
    return f"| | |\n|---|---|\n{rows}"
