"""`medclip clean`: a published data set, or a folder of your own, into a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from medclip_cli.commands import completion
from medclip_cli.commands import options as opt
from medclip_cli.errors import UsageError
from medclip_cli.terminal import console, json_output, progress, tables

EXAMPLE = (
    "Example: medclip clean medpix2 MedPix-2-0 --out work/medpix --caption medpix-seed, "
    "or: medclip clean folder my-scans --out work/mine"
)
_captions, _rows, _table = opt.panel("Captions"), opt.panel("Which rows"), opt.panel("Your own table")


def clean(
    dataset: Annotated[
        str | None,
        opt.argument(
            "DATASET", "The data set's name; --list names them all.", autocompletion=completion.datasets
        ),
    ] = None,
    root: Annotated[Path | None, opt.argument("ROOT", "The folder it was downloaded to.")] = None,
    out: Annotated[Path | None, opt.option("The corpus folder to make.", "--out", "-o")] = None,
    caption: Annotated[
        str | None,
        _captions(
            "A style (report, findings, impression, labels, template, fields, medpix-seed) or a "
            "template like 'a {modality} of the {region}'. [default: the data set's own]"
        ),
    ] = None,
    strip_marks: Annotated[
        bool, _captions("Drop de-identification marks (XXXX, ___) and enumeration from reports.")
    ] = False,
    uncertain: Annotated[
        Literal["positive", "negative", "drop", "mention"],
        _captions(
            "Labels the source calls uncertain: count them as positive or negative, drop the row, or "
            "mention them in the caption as possible."
        ),
    ] = "mention",
    modality: Annotated[str | None, _rows("Keep only these modalities, for example CT,MR.")] = None,
    limit: Annotated[int | None, _rows("Maximum number of rows to read.", min=1)] = None,
    splits: Annotated[
        Literal["official", "filtered", "group"],
        _rows(
            "official: the data set's own splits where there are any; filtered: the same without "
            "held-out groups that are also in train; group: new ones by patient, case or article."
        ),
    ] = "official",
    seed: Annotated[int, _rows("Random seed of new splits.")] = 0,
    skip_image_check: Annotated[
        bool, _rows("Clean the metadata alone, without images.", "--skip-image-check")
    ] = False,
    strict: Annotated[bool, _rows("Fail when train leaks into a held-out split.", "--strict")] = False,
    captions: Annotated[Path | None, _table("The table of captions. [default: found in ROOT]")] = None,
    image_column: Annotated[str | None, _table("Its column of image paths. [default: guessed]")] = None,
    caption_column: Annotated[str | None, _table("Its column of captions. [default: guessed]")] = None,
    group_pattern: Annotated[
        str | None, _table("Regular expression on the image path; what it matches is the patient.")
    ] = None,
    name: opt.CorpusName = None,
    threads: Annotated[
        int | None, opt.option("Images decoded in parallel. [default: one per core]", min=1)
    ] = None,
    copy_images: Annotated[
        bool, opt.option("Copy the images into the corpus: it needs no other folder.", "--copy-images")
    ] = False,
    dry_run: Annotated[bool, opt.option("Count rows, but write nothing.", "--dry-run")] = False,
    list_datasets: Annotated[bool, opt.option("List the data sets and exit.", "--list")] = False,
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
            uncertain=uncertain,
            modality=modality or (),
            splits=splits,
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
        show_counts(report.to_dict())
    if report.corpus:
        console.note(f"wrote {out}: {report.kept} of {report.read} rows kept")


def show_counts(report: Mapping[str, Any]) -> None:
    """Print what a cleaning or a merge counted."""
    counts = [("kept", report["kept"]), *report["rejected"].items(), ("read", report["read"])]
    tables.show("Rows", ("outcome", "rows"), counts)
    tables.gap()
    sizes = [(name, split["images"], split["groups"]) for name, split in report["splits"].items()]
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
