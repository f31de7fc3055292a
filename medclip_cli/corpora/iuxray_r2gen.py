"""IU X-Ray as R2Gen repacked it: ``annotation.json``, two images a case, findings only, an official split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medclip_cli.corpora.image_files import ImageFiles, list_images
from medclip_cli.corpora.tables import read_json
from medclip_cli.corpora.vocabulary import split_of, texts
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

TABLE = "annotation.json"


def read(root: Path, table: Path) -> Iterator[SourceRow]:
    """Yield one row an image; the lists' own names are not trusted, each record says its split."""
    content = read_json(table)
    if not isinstance(content, dict):
        raise CorpusError(f"{table} is not R2Gen's lists by split: download it again")
    images = list_images(root)
    return _rows([entry for part in content.values() if isinstance(part, list) for entry in part], images)


def _rows(entries: list[Any], images: ImageFiles) -> Iterator[SourceRow]:
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("image_path"), list):
            yield SourceRow(f"entry{number}", "", fault=("malformed_row", "not a case with images"))
            continue
        case = str(entry.get("id"))
        for path in map(str, entry["image_path"]):
            yield SourceRow(
                key=path.rpartition(".")[0] or path,
                image=images.find(path) or images.find(f"images/{path}") or f"images/{path}",
                modality="XR",
                group=case.partition("_")[0],
                split=split_of(entry.get("split")),
                texts=texts(report=entry.get("report"), findings=entry.get("report")),
                region="Chest",
            )
