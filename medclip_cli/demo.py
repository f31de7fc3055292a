"""The whole pipeline on a small generated data set, step by step."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medclip_cli.errors import CorpusError
from medclip_cli.progress import OnProgress

COLLECTION = "demo"
IMAGE_SIZE = 64  # pixels; enough for phantoms, and half the work of the preset's own size
WORDS = "coronal MR scan with a large lesion on the left side"
_HELD_OUT_IMAGES = 8

Step = tuple[str, Callable[[OnProgress], Any]]


def demo_steps(
    out: Path, *, images: int = 720, epochs: int = 40, seed: int = 7, force: bool = False
) -> Iterator[Step]:
    """Clean, train, index, caption, search and evaluate phantoms that are drawn first; no network is used.

    Args:
        out: the folder to make; an earlier demo in it is replaced with `force`, anything else never is.
        images: how many to draw.
        epochs: of training.
        seed: of the images.
        force: replace an earlier demo.

    Yields:
        The command that does the same, and the function that does it, to be called before the next step. It
        returns the report, the (true caption, answer) pairs of some held-out images, or the hits.

    Raises:
        CorpusError: the folder is taken.
    """
    from medclip_cli.cleaning.corpus_builder import clean
    from medclip_cli.collection import open_collection
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.evaluation.run import evaluate
    from medclip_cli.phantoms import draw_dataset
    from medclip_cli.training import train_encoders
    from medclip_cli.vector_index.indexer import index

    marker = out / ".medclip-demo"
    if out.exists():
        if not marker.is_file():
            raise CorpusError(f"{out} exists and is no medclip demo: choose another folder")
        if not force:
            raise CorpusError(f"{out} holds an earlier demo: choose another folder, or force to replace it")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    marker.touch()
    raw, corpus, model = out / "raw", out / "corpus", out / "model"
    draw_dataset(raw, images=images, seed=seed)

    yield (
        f"medclip clean folder {raw} --out {corpus}",
        lambda on_progress: clean("folder", raw, corpus, on_progress=on_progress),
    )
    # Phantoms differ by their lesion, not by the modality and view that label agreement counts.
    yield (
        f"medclip train encoders {corpus} --preset tiny --from-scratch --image-size {IMAGE_SIZE} "
        f"--label-agreement 0 --epochs {epochs} --out {model}",
        lambda on_progress: train_encoders(
            *(corpus, model),
            preset="tiny",
            from_scratch=True,
            image_size=IMAGE_SIZE,
            label_agreement=0.0,
            epochs=epochs,
            on_progress=on_progress,
        ),
    )
    yield (
        f"medclip index {corpus} --model {model} --collection {COLLECTION} --rebuild",
        lambda on_progress: index(
            corpus, model=model, collection=COLLECTION, rebuild=True, on_progress=on_progress
        ),
    )
    cleaned = Corpus.open(corpus)
    distinct = list({row.caption: row for row in cleaned.split("test")}.values())
    held_out = distinct[:: max(1, len(distinct) // _HELD_OUT_IMAGES)][:_HELD_OUT_IMAGES]
    with open_collection(COLLECTION) as opened:
        yield (
            f"medclip caption IMAGE --collection {COLLECTION}   (held-out images)",
            lambda _: list(
                zip(
                    [row.caption for row in held_out],
                    opened.caption([cleaned.image_path(row) for row in held_out], method="nearest", k=1),
                    strict=True,
                )
            ),
        )
        yield (
            f"medclip search '{WORDS}' --top 3 --collection {COLLECTION}",
            lambda _: opened.search(WORDS, k=3),
        )
        yield (
            f"medclip evaluate {corpus} --collection {COLLECTION} --split test",
            lambda on_progress: evaluate(cleaned, opened, split="test", on_progress=on_progress),
        )
