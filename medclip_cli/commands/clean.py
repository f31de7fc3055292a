"""`medclip clean`: a published data set, or a folder of one's own, into a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from medclip_cli.commands import completion
from medclip_cli.commands import options as opt
from medclip_cli.errors import UsageError
from medclip_cli.terminal import console, json_output, progress, tables

EXAMPLE = (
    "Example: medclip clean medpix2 MedPix-2-0 --out work/medpix --caption medpix-seed, "
    "or: medclip clean folder my-scans --out work/mine"
)
_CAPTIONS = "Captions"
_ROWS = "Which rows"
_TABLE = "Your own table"


class UncertainLabels(str, Enum):
    """What a label the source calls uncertain means."""

    positive = "positive"
    negative = "negative"
    drop = "drop"
    mention = "mention"


class Splits(str, Enum):
    """Where the splits come from."""

    official = "official"
    filtered = "filtered"
    group = "group"


def clean(
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help="The data set's name; --list names them all.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="The folder it was downloaded to.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The corpus folder to make.")] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            help="A style (report, findings, impression, labels, template, fields, medpix-seed) or a "
            "template like 'a {modality} of the {region}'. [default: the data set's own]",
            rich_help_panel=_CAPTIONS,
        ),
    ] = None,
    strip_marks: Annotated[
        bool,
        typer.Option(
            help="Drop de-identification marks (XXXX, ___) and enumeration from reports.",
            rich_help_panel=_CAPTIONS,
        ),
    ] = False,
    uncertain: Annotated[
        UncertainLabels,
        typer.Option(
            help="Labels the source calls uncertain: count them as positive or negative, drop the row, or "
            "mention them in the caption as possible.",
            rich_help_panel=_CAPTIONS,
        ),
    ] = UncertainLabels.mention,
    modality: Annotated[
        str | None, typer.Option(help="Keep only these modalities, for example CT,MR.", rich_help_panel=_ROWS)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of rows to read.", rich_help_panel=_ROWS)
    ] = None,
    splits: Annotated[
        Splits,
        typer.Option(
            help="official: the data set's own splits where there are any; filtered: the same without "
            "held-out groups that are also in train; group: new ones by patient, case or article.",
            rich_help_panel=_ROWS,
        ),
    ] = Splits.official,
    seed: Annotated[int, typer.Option(help="Random seed of new splits.", rich_help_panel=_ROWS)] = 0,
    skip_image_check: Annotated[
        bool,
        typer.Option(
            "--skip-image-check", help="Clean the metadata alone, without images.", rich_help_panel=_ROWS
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail when train leaks into a held-out split.", rich_help_panel=_ROWS),
    ] = False,
    captions: Annotated[
        Path | None,
        typer.Option(help="The table of captions. [default: found in ROOT]", rich_help_panel=_TABLE),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Its column of image paths. [default: guessed]", rich_help_panel=_TABLE)
    ] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="Its column of captions. [default: guessed]", rich_help_panel=_TABLE)
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(
            help="Regular expression on the image path; what it matches is the patient.",
            rich_help_panel=_TABLE,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The corpus's name. [default: that of the --out folder]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Images decoded in parallel. [default: one per core]")
    ] = None,
    copy_images: Annotated[
        bool, typer.Option("--copy-images", help="Copy the images into the corpus: it needs no other folder.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count rows, but write nothing.")] = False,
    list_datasets: Annotated[bool, typer.Option("--list", help="List the data sets and exit.")] = False,
    force: opt.Force = False,
    as_json: opt.JsonOutput = False,
) -> None:
    """Read a data set, leave out what cannot be used, and write a corpus."""
    from medclip_cli.cleaning.corpus_builder import clean as clean_dataset

    if list_datasets:
        return _show_datasets(as_json)
    if dataset is None or root is None or (out is None and not dry_run):
        raise UsageError(
            "medclip clean needs DATASET, ROOT and --out: medclip clean --list names the data sets"
        )
    with progress.reported() as on_progress:
        report = clean_dataset(
            dataset,
            root,
            None if dry_run else out,
            name=name or (out or Path(dataset)).absolute().name,
            caption=caption,
            strip_marks=strip_marks,
            uncertain=uncertain.value,
            modality=modality or (),
            splits=splits.value,
            seed=seed,
            limit=limit,
            captions=captions,
            image_column=image_column,
            caption_column=caption_column,
            group_pattern=group_pattern,
            skip_image_check=skip_image_check,
            strict=strict,
            threads=threads,
            copy_images=copy_images,
            force=force,
            on_progress=on_progress,
        )
    if as_json:
        json_output.write(report.to_dict())
    else:
        show_counts(report.kept, report.rejected, report.read, report.splits)
    if report.corpus:
        console.note(f"wrote {out}: {report.kept} of {report.read} rows kept")


def show_counts(
    kept: int, rejected: Mapping[str, int], read: int, splits: Mapping[str, Mapping[str, int]]
) -> None:
    """Print what a cleaning or a merge counted."""
    tables.show("Rows", ("outcome", "rows"), [("kept", kept), *rejected.items(), ("read", read)])
    tables.gap()
    sizes = [(name, split["images"], split["groups"]) for name, split in splits.items()]
    tables.show("Splits", ("split", "images", "groups"), sizes)


def _show_datasets(as_json: bool) -> None:
    from medclip_cli.corpora.registry import known_layouts

    layouts = known_layouts()
    if as_json:
        fields = ("name", "title", "licence", "download", "reads")
        json_output.write([{name: getattr(layout, name) for name in fields} for layout in layouts])
        return
    rows = [(one.name, one.title, one.licence) for one in layouts]
    tables.show("Data sets", ("name", "data set", "licence"), rows)
    for one in layouts:
        console.detail(f"\n{one.name}\n  to get:  {one.download}\n  is read: {one.reads}")
    if not console.verbosity.verbose:
        console.note("--verbose shows where to get each, and which of its files are read.")
