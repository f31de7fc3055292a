"""`medclip duplicates`: images of a corpus that are there more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medclip_cli.commands import completion, image_output
from medclip_cli.commands.options import Debug, JsonOutput, Offline, Pictures, Quiet, ServerUrl, Verbose
from medclip_cli.errors import SOME_FAILED
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.records import CaptionedImage
    from medclip_cli.terminal.pictures import Mode
    from medclip_cli.vector_index.duplicates import DuplicateGroup, DuplicatePair
    from medclip_cli.vector_index.store import StoreLocation

EXAMPLE = "Example: medclip duplicates work/medpix --collection medpix --min-score 0.99"


def duplicates(
    source: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus made by medclip clean.")],
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection",
            "-c",
            help="Compare the vectors that this collection has of it, too.",
            autocompletion=completion.collections,
        ),
    ] = None,
    min_score: Annotated[
        float,
        typer.Option("--min-score", min=0, max=1, help="From which cosine on vectors count as the same."),
    ] = 0.99,
    url: ServerUrl = None,
    offline: Offline = None,
    pictures: Pictures = "auto",
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find images that are there more than once, as groups: by bytes, by picture, and by vector.

    Copies in different splits flatter every score; copies in different groups are one patient under two
    names, or a picture from a book.
    """
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.duplicates import group_alike
    from medclip_cli.vector_index.store import StoreLocation

    place = StoreLocation.of(load_settings({"qdrant_url": url, "offline": offline}))
    corpus = Corpus.open(source)
    by_id = {record.id: record for record in corpus.records}
    unread: dict[Path, str] = {}
    alike = group_alike(_likenesses(corpus, place, collection, min_score, unread))
    groups = [_described(group, by_id) for group in alike]
    if as_json:
        for group in groups:
            json_output.write_line(group)
    else:
        _show(groups, corpus, by_id, pictures)
    if unread:
        path, reason = next(iter(unread.items()))
        console.warn(
            f"{console.counted(len(unread), 'image')} could not be looked at (the first: {path}: {reason}): "
            "copies of them that are not the same byte by byte are not found"
        )
        raise typer.Exit(SOME_FAILED)


def _show(
    groups: list[dict[str, Any]], corpus: Corpus, by_id: dict[str, CaptionedImage], pictures: Mode
) -> None:
    drawn = _draw(groups, corpus, by_id, pictures)
    rows = [
        (len(group["ids"]), ", ".join(group["by"]), ", ".join(group["splits"]), " ".join(group["ids"]))
        for group in groups
    ]
    tables.show(f"Duplicates in {corpus.name}", ("images", "by", "splits", "ids"), rows)
    copies = sum(len(group["ids"]) - 1 for group in groups)
    across = sum(len(group["splits"]) > 1 for group in groups)
    console.note(
        f"{console.counted(len(groups), 'group')}, {console.counted(copies, 'copy', 'copies')} too many; "
        f"{console.counted(across, 'group')} in several splits."
    )
    if 0 < drawn < len(groups):
        console.note(f"--pictures always draws all {len(groups)} groups.")


def _draw(groups: list[dict[str, Any]], corpus: Corpus, by_id: dict[str, CaptionedImage], mode: Mode) -> int:
    """Draw each group; returns how many were drawn."""
    described = [
        (
            f"{len(group['ids'])} images, alike by {', '.join(group['by'])}, in {', '.join(group['splits'])}",
            [(name, corpus.image_path(by_id[name])) for name in group["ids"]],
        )
        for group in groups
    ]
    return image_output.draw_groups(described, mode)


def _likenesses(
    corpus: Corpus, place: StoreLocation, collection: str | None, min_score: float, unread: dict[Path, str]
) -> Iterator[DuplicatePair]:
    from medclip_cli.vector_index import duplicates as finding
    from medclip_cli.vector_index.store import open_collection

    yield from finding.same_bytes(corpus.records)
    yield from finding.same_picture(corpus.records, _closer_look(corpus, unread))
    if collection is not None:
        known = {record.id for record in corpus.records}
        with open_collection(place, collection) as index:
            for likeness in finding.same_vector(index, corpus.name, min_score):
                if likeness.one in known and likeness.other in known:
                    yield likeness


def _closer_look(corpus: Corpus, unread: dict[Path, str]) -> Callable[[CaptionedImage, CaptionedImage], bool]:
    """Return what compares two pictures closely; an unreadable one, put into `unread`, is like nothing."""
    from encoders.errors import ScanError
    from encoders.images import read_image
    from medclip_cli.cleaning.hashes import difference_hashes
    from medclip_cli.cleaning.leaks import NEAR_FINE_BITS

    @lru_cache(maxsize=4096)
    def fine_hash(path: Path) -> int | None:
        try:
            return int(difference_hashes(read_image(path))[1], 16)
        except ScanError as error:
            unread[path] = str(error)
            return None

    def same(one: CaptionedImage, other: CaptionedImage) -> bool:
        first, second = fine_hash(corpus.image_path(one)), fine_hash(corpus.image_path(other))
        return first is not None and second is not None and (first ^ second).bit_count() <= NEAR_FINE_BITS

    return same


def _described(group: DuplicateGroup, by_id: dict[str, CaptionedImage]) -> dict[str, Any]:
    records = [by_id[identifier] for identifier in group.ids]
    return {
        "ids": list(group.ids),
        "by": list(group.reasons),
        "lowest_score": group.lowest_score,
        "splits": sorted({record.split for record in records}),
        "groups": sorted({record.group for record in records}),
        "images": [record.image for record in records],
    }
