"""`medclip embed`: images or texts to unit-length vectors in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclip_cli.commands import inputs
from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED, UsageError
from medclip_cli.terminal import console, progress

EXAMPLE = "Example: medclip embed scans/ --model work/model --out vectors.parquet"


def embed(
    images: opt.Images = None,
    out: Annotated[
        Path,
        opt.output(
            "vectors.parquet with the columns id and vector, or vectors.npy with the ids in vectors.ids.txt.",
            "--out",
            "-o",
            metavar="FILE",
        ),
    ] = Path("vectors.parquet"),
    texts: Annotated[
        str | None,
        opt.input_("Embed the lines of this file instead of images; '-' is stdin.", metavar="FILE"),
    ] = None,
    batch_size: Annotated[
        int | None, opt.option("Images or texts per forward pass. [default: by device]", min=1)
    ] = None,
    model: opt.ModelPath = None,
    collection: opt.CollectionName = None,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
    lock_timeout: opt.LockTimeout = None,
    files_from: opt.FilesFrom = None,
    nul_separated: opt.NulSeparated = False,
) -> None:
    """Embed images or texts as unit-length float32 vectors, one row each in the order of the input."""
    from medclip_cli.collection import open_collection
    from medclip_cli.embedding import check_vectors_file, embed_to_file
    from medclip_cli.models import load_model
    from medclip_cli.settings import load_settings

    check_vectors_file(out)
    if texts is not None and (images or files_from or nul_separated):
        raise UsageError("texts and images cannot be embedded in one run: name one of them")
    settings = load_settings({"offline": offline})
    if model is None and collection is None:
        model = settings.model
    if model is None:
        with open_collection(collection, url=url, offline=offline, lock_timeout=lock_timeout) as opened:
            model = opened.model.path
    encoder = load_model(model, offline=settings.offline, home=settings.home, for_many=True)
    sources = None
    if texts is None:
        sources = inputs.expand_images(images or [], files_from, nul_separated=nul_separated)
    lines = () if texts is None else inputs.text_lines(texts)
    with progress.reported() as on_progress:
        report = embed_to_file(
            out, encoder, images=sources, texts=lines, batch_size=batch_size, on_progress=on_progress
        )
    console.note(f"wrote {console.counted(report.written, 'vector')} of {encoder.dim} numbers to {out}")
    if report.failed:
        raise typer.Exit(SOME_FAILED if report.written else 1)
