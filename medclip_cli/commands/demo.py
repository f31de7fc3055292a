"""`medclip demo`: the whole pipeline, command by command, on a small generated data set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from medclip_cli.commands import options as opt
from medclip_cli.errors import CorpusError
from medclip_cli.terminal import console, tables

if TYPE_CHECKING:
    from medclip_cli.records import CaptionedImage

EXAMPLE = "Example: medclip demo --out demo"
COLLECTION = "demo"
SHOWN = 8
IMAGE_SIZE = 64  # pixels; enough for phantoms, and half the work of the preset's own size


def demo(
    out: Annotated[Path, opt.option("Folder for the generated images, the corpus and the model.")] = Path(
        "medclip-demo"
    ),
    images: Annotated[int, opt.option("Number of images to generate.", min=90)] = 720,
    epochs: Annotated[int, opt.option("Training epochs.", min=1)] = 40,
    seed: Annotated[int, opt.option("Random seed of the images.")] = 7,
    force: opt.Force = False,
) -> None:
    """Generate phantom images, then clean, train, index, caption, search and evaluate.

    It takes about two minutes on a CPU, and no network.
    """
    from medclip_cli.commands import clean, evaluate, index, search, train
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.phantoms import draw_dataset

    _make_room(out, force)
    raw, corpus, model = out / "raw", out / "corpus", out / "model"
    console.note(f"Generating {images} phantom images in {raw} ...")
    draw_dataset(raw, images=images, seed=seed)

    _announce(f"medclip clean folder {raw} --out {corpus}")
    clean.clean("folder", raw, out=corpus)
    recipe = f"--preset tiny --from-scratch --image-size {IMAGE_SIZE} --label-agreement 0 --epochs {epochs}"
    _announce(f"medclip train encoders {corpus} {recipe} --out {model}")
    train.encoders(
        corpus,
        out=model,
        preset="tiny",
        from_scratch=True,
        image_size=IMAGE_SIZE,
        label_agreement=0.0,  # phantoms differ by their lesion, not by the modality and view they share
        epochs=epochs,
    )
    _announce(f"medclip index {corpus} --model {model} --collection {COLLECTION}")
    index.index(corpus, model=model, collection=COLLECTION, rebuild=True)
    _announce(f"medclip caption IMAGE --collection {COLLECTION}   (held-out images)")
    held_out = Corpus.open(corpus)
    _show_captions([(held_out.image_path(row), row) for row in _one_of_each(held_out.split("test"))])
    words = "coronal MR scan with a large lesion on the left side"
    _announce(f"medclip search '{words}' --collection {COLLECTION}")
    search.search(words, top=3, collection=COLLECTION)
    _announce(f"medclip evaluate {corpus} --collection {COLLECTION} --split test")
    evaluate.evaluate(corpus, collection=COLLECTION, split="test")
    console.note(
        f"Now try it yourself: medclip caption {raw}/images/phantom0001.png --collection {COLLECTION}"
    )


def _make_room(out: Path, force: bool) -> None:
    """Make the output folder; an earlier demo in it is replaced with --force, anything else never is."""
    marker = out / ".medclip-demo"
    if out.exists():
        if not marker.is_file():
            raise CorpusError(f"{out} exists and holds no medclip demo: choose another --out")
        if not force:
            raise CorpusError(f"{out} holds an earlier demo: choose another --out, or --force to replace it")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    marker.touch()


def _announce(command: str) -> None:
    console.note(f"\n$ {command}")


def _one_of_each(rows: tuple[CaptionedImage, ...]) -> list[CaptionedImage]:
    """Return up to `SHOWN` rows with different captions, spread over the split."""
    distinct = list({row.caption: row for row in rows}.values())
    return distinct[:: max(1, len(distinct) // SHOWN)][:SHOWN]


def _show_captions(images: list[tuple[Path, CaptionedImage]]) -> None:
    from medclip_cli.collection import open_collection

    with open_collection(COLLECTION) as opened:
        answers = opened.caption([path for path, _ in images], method="nearest", k=1)
    rows = [
        (truth.caption, one.caption, one.score, "yes" if one.caption == truth.caption else "no")
        for (_, truth), one in zip(images, answers, strict=True)
    ]
    tables.show("Captions of held-out phantoms", ("truth", "caption", "score", "same"), rows)
