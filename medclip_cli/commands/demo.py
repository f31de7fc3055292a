"""`medclip demo`: the whole pipeline, command by command, on a small generated data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from medclip_cli.commands import options as opt
from medclip_cli.terminal import console, progress, tables

EXAMPLE = "Example: medclip demo --out demo"


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
    from medclip_cli.demo import COLLECTION, demo_steps

    shows: tuple[Callable[[Any], None], ...] = (
        lambda report: clean.show_counts(report.to_dict()),
        train.show_model,
        index.show,
        _show_captions,
        lambda hits: search.show(hits, COLLECTION),
        lambda report: evaluate.show(report.to_dict()),
    )
    console.note(f"Generating {images} phantom images in {out / 'raw'} ...")
    steps = demo_steps(out, images=images, epochs=epochs, seed=seed, force=force)
    for (command, run), show in zip(steps, shows, strict=True):
        console.note(f"\n$ {command}")
        with progress.reported() as on_progress:
            result = run(on_progress)
        show(result)
    console.note(
        f"Now try it yourself: medclip caption {out}/raw/images/phantom0001.png --collection {COLLECTION}"
    )


def _show_captions(answers: list[Any]) -> None:
    rows = [
        (truth, one.caption, one.score, "yes" if one.caption == truth else "no") for truth, one in answers
    ]
    tables.show("Captions of held-out phantoms", ("truth", "caption", "score", "same"), rows)
