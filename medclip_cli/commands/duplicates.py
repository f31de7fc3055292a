"""`medclip duplicates`: images of a corpus that are there more than once."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from medclip_cli.commands import completion
from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED
from medclip_cli.progress import counted
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.terminal.pictures import Mode
    from medclip_cli.vector_index.duplicates import DuplicatesReport

EXAMPLE = "Example: medclip duplicates work/medpix --collection medpix --min-score 0.99"


def duplicates(
    source: opt.CleanedCorpus,
    collection: Annotated[
        str | None,
        opt.option(
            "A collection that holds the corpus: compare its vectors as well.",
            "--collection",
            "-c",
            autocompletion=completion.collections,
        ),
    ] = None,
    min_score: Annotated[
        float, opt.option("Minimum cosine similarity of duplicates.", "--min-score", min=0, max=1)
    ] = 0.99,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
    pictures: opt.Pictures = "auto",
    as_json: opt.JsonOutput = False,
) -> None:
    """Find duplicate images, as groups: by file bytes, by image, and by vector.

    Copies in different splits flatter every score; copies in different groups are one patient under two
    names, or an image from a textbook.
    """
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.duplicates import find_duplicates
    from medclip_cli.vector_index.store import Store

    location = Store.of(load_settings({"qdrant_url": url, "offline": offline}))
    corpus = Corpus.open(source)
    with nullcontext() if collection is None else location.open(collection) as index:
        report = find_duplicates(corpus, index, min_score=min_score)
    if as_json:
        for group in report.groups:
            json_output.write_line(asdict(group))
    else:
        _show(report, corpus, pictures)
    if report.unread:
        path, reason = next(iter(report.unread.items()))
        console.warn(
            f"{counted(len(report.unread), 'image')} could not be read (the first: {path}: {reason}): "
            "copies of them that are not the same byte by byte are not found"
        )
        raise typer.Exit(SOME_FAILED)


def _show(report: DuplicatesReport, corpus: Corpus, mode: Mode) -> None:
    from medclip_cli.terminal.pictures import show_groups

    groups = report.groups
    described = [
        (
            f"{len(group.ids)} images, alike by {', '.join(group.by)}, in {', '.join(group.splits)}",
            [(name, corpus.image_root / path) for name, path in zip(group.ids, group.images, strict=True)],
        )
        for group in groups
    ]
    drawn = show_groups(described, mode)
    rows = [
        (len(group.ids), ", ".join(group.by), ", ".join(group.splits), " ".join(group.ids))
        for group in groups
    ]
    tables.show(f"Duplicates in {report.corpus}", ("images", "by", "splits", "ids"), rows)
    copies = sum(len(group.ids) - 1 for group in groups)
    across = sum(len(group.splits) > 1 for group in groups)
    console.note(
        f"{counted(len(groups), 'group')}, {counted(copies, 'copy', 'copies')} too many; "
        f"{counted(across, 'group')} in several splits."
    )
    if 0 < drawn < len(groups):
        console.note(f"--pictures always draws all {len(groups)} groups.")
