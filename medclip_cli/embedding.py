"""Vectors of many images or texts, written to a Parquet or NumPy file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError
from medclip_cli.private_files import open_private_bytes, open_private_text
from medclip_cli.progress import OnProgress, Progress, log, no_progress

if TYPE_CHECKING:
    from medclip_cli.models import Model, Source, Vectors

_TEXT_BATCH = 64
_ROW_GROUP = 4096


@dataclass(frozen=True, slots=True)
class EmbeddingReport:
    """How many vectors were written, and why the images that have none cannot be read, by file."""

    written: int
    failed: dict[str, str]


def check_vectors_file(out: Path) -> None:
    """Make sure that vectors can be written to a file of this name.

    Raises:
        UsageError: it ends neither in ``.parquet`` nor in ``.npy``.
    """
    if out.suffix not in (".parquet", ".npy"):
        raise UsageError(f"out {str(out)!r} must end in .parquet or .npy")


def embed_to_file(
    out: Path,
    model: Model,
    *,
    images: Iterable[Source] | None = None,
    texts: Iterable[str] = (),
    batch_size: int | None = None,
    on_progress: OnProgress = no_progress,
) -> EmbeddingReport:
    """Embed images or texts; the file is put in place whole, readable by its owner alone.

    Args:
        out: a Parquet file with the columns ``id`` and ``vector`` (float32 ``[dim]``), or a ``.npy`` file of
            float32 ``[n, dim]`` with the ids, one a line, in ``.ids.txt`` beside it.
        model: that embeds.
        images: image files; the id of each is its path. One that cannot be read is logged and left out.
        texts: instead of images; each is its own id.
        batch_size: images or texts in one forward pass; None for what suits.
        on_progress: called after each image, or each batch of texts.

    Raises:
        UsageError: the file has another ending.
        OSError: it cannot be written.
    """
    check_vectors_file(out)
    failed: dict[str, str] = {}

    def rows() -> Iterator[tuple[str, Vectors]]:
        done, lines = 0, iter(texts)
        for one in model.embed_files(images, batch_size) if images is not None else ():
            if one.vector is None:
                failed[str(one.source)] = one.error or "cannot be read"
                log.warning("%s: %s", one.source, one.error)
            else:
                yield str(one.source), one.vector
            done += 1
            on_progress(Progress("Embedding", done, None, len(failed)))
        while batch := list(islice(lines, batch_size or _TEXT_BATCH)):
            yield from zip(batch, model.embed_texts(batch), strict=True)
            done += len(batch)
            on_progress(Progress("Embedding", done, unit="texts"))

    partial = out.with_name(f".{out.name}.partial")
    write = _write_parquet if out.suffix == ".parquet" else _write_numpy
    try:
        written = write(partial, out.with_suffix(".ids.txt"), rows(), model)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return EmbeddingReport(written, failed)


def _write_parquet(path: Path, _: Path, rows: Iterator[tuple[str, Vectors]], model: Model) -> int:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    columns = [("id", pa.string()), ("vector", pa.list_(pa.float32(), model.dim))]
    schema = pa.schema(columns, metadata={"model": model.name, "fingerprint": model.fingerprint})
    written = 0
    with open_private_bytes(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while chunk := list(islice(rows, _ROW_GROUP)):
            # A file name that is not UTF-8 comes as lone surrogates, which Parquet refuses.
            ids = pa.array([id_.encode("utf-8", "backslashreplace").decode() for id_, _ in chunk])
            flat = pa.array(np.concatenate([vector for _, vector in chunk]), pa.float32())
            vectors = pa.FixedSizeListArray.from_arrays(flat, model.dim)
            writer.write_table(pa.Table.from_arrays([ids, vectors], schema=schema))
            written += len(chunk)
    return written


def _write_numpy(path: Path, ids_path: Path, rows: Iterator[tuple[str, Vectors]], model: Model) -> int:
    import numpy as np

    ids, vectors = [], []
    for id_, vector in rows:
        ids.append(id_)
        vectors.append(vector)
    with open_private_bytes(path) as file:
        np.save(file, np.stack(vectors) if vectors else np.zeros((0, model.dim), dtype=np.float32))
    with open_private_text(ids_path) as names:
        names.writelines(id_.replace("\n", "\\n") + "\n" for id_ in ids)
    return len(ids)
