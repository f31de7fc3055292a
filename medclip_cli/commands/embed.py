"""`medclip embed`: images or texts to unit-length vectors in a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclip_cli.commands import inputs
from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED, UsageError
from medclip_cli.terminal import console, progress

if TYPE_CHECKING:
    from medclip_cli.models import Model, Vectors

EXAMPLE = "Example: medclip embed scans/ --model work/model --out vectors.parquet"
TEXT_BATCH = 64
ROW_GROUP = 4096


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
    from medclip_cli.models import load_model
    from medclip_cli.settings import load_settings

    if out.suffix not in (".parquet", ".npy"):
        raise UsageError(f"out {str(out)!r} must end in .parquet or .npy")
    if texts is not None and (images or files_from or nul_separated):
        raise UsageError("texts and images cannot be embedded in one run: name one of them")
    settings = load_settings({"offline": offline})
    if model is None and collection is None:
        model = settings.model
    if model is None:
        options = {"url": url, "offline": offline, "lock_timeout": lock_timeout}
        with open_collection(collection, **options) as opened:  # type: ignore[arg-type]
            model = opened.model.path
    encoder = load_model(model, offline=settings.offline, home=settings.home, for_many=True)
    with progress.track("Embedding", unit="images" if texts is None else "texts") as bar:

        def rows() -> Iterator[tuple[str, Vectors]]:
            if texts is not None:
                size = batch_size or TEXT_BATCH
                lines = iter(inputs.text_lines(texts))
                while batch := list(islice(lines, size)):
                    yield from zip(batch, encoder.embed_texts(batch), strict=True)
                    bar.advance(len(batch))
                return
            sources = inputs.expand_images(images or [], files_from, nul_separated=nul_separated)
            for one in encoder.embed_files(sources, batch_size):
                if one.vector is None:
                    console.warn(f"{one.source}: {one.error}")
                    bar.fail()
                else:
                    yield str(one.source), one.vector
                    bar.advance()

        written = write_vectors(out, rows(), encoder)
    console.note(f"wrote {console.counted(written, 'vector')} of {encoder.dim} numbers to {out}")
    if bar.failed:
        raise typer.Exit(SOME_FAILED if written else 1)


def write_vectors(out: Path, rows: Iterable[tuple[str, Vectors]], model: Model) -> int:
    """Write ids and vectors to a file that is put in place whole; returns how many there were."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    partial, names_file = out.with_name(f".{out.name}.partial"), out.with_suffix(".ids.txt")
    count = 0
    try:
        partial.touch(mode=0o600)  # ids may hold a patient's words
        if out.suffix == ".npy":
            ids, vectors = [], []
            for id_, vector in rows:
                ids.append(console.printable(id_).replace("\n", "\\n"))
                vectors.append(vector)
            count = len(ids)
            with partial.open("wb") as file:
                np.save(file, np.stack(vectors) if vectors else np.zeros((0, model.dim), dtype=np.float32))
            names = "".join(f"{id_}\n" for id_ in ids)
            names_file.touch(mode=0o600)
            names_file.write_text(names, encoding="utf-8")
        else:
            columns = {"id": pa.string(), "vector": pa.list_(pa.float32(), model.dim)}
            about = {"model": model.name, "fingerprint": model.fingerprint}
            schema = pa.schema(list(columns.items()), metadata=about)
            with parquet.ParquetWriter(partial, schema) as writer:
                for chunk in _chunks(rows, ROW_GROUP):
                    ids = [console.printable(id_) for id_, _ in chunk]
                    flat = pa.array(np.concatenate([vector for _, vector in chunk]), pa.float32())
                    arrays = [pa.array(ids), pa.FixedSizeListArray.from_arrays(flat, model.dim)]
                    writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                    count += len(chunk)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _chunks(rows: Iterable[tuple[str, Vectors]], size: int) -> Iterator[Sequence[tuple[str, Vectors]]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk
