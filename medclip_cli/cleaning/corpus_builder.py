"""A data set to a corpus: read, clean, settle the splits, look for leaks, write. `clean` does it all."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medclip_cli.cleaning.captions import Uncertain, caption_style
from medclip_cli.cleaning.images import journal_path, open_journal
from medclip_cli.cleaning.pipeline import (
    Cleaning,
    CleaningOptions,
    SplitPolicy,
    check_images,
    read_rows,
    settle_splits,
    unfilled_names,
)
from medclip_cli.corpora.corpus_folder import (
    REPORT_FILE,
    TABLE_FILE,
    Corpus,
    check_target,
    split_sizes,
    staging_folder,
    write_corpus,
)
from medclip_cli.corpora.dicom import patient_key
from medclip_cli.corpora.exporting import copy_images, keep_only
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.near_duplicates import Leaks, find_leaks
from medclip_cli.corpora.notes import noting
from medclip_cli.corpora.registry import layout_named, layout_of_folder
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.progress import OnProgress, log, no_progress
from medclip_cli.records import MODALITIES
from medclip_cli.settings import load_settings

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What a cleaning counted; ``read == kept + sum(rejected.values())``.

    Attributes:
        corpus: the folder that was made; None when nothing was to be written.
        name: of the corpus.
        caption_style: the style or template of the captions.
        dataset: the data set's name, or the corpus's for one's own images.
        read: rows read, of which so many were `kept`.
        rejected: rows left out, by reason code, the most frequent first.
        splits: ``images`` and ``groups`` by split.
        modalities: images by modality, the most frequent first.
        images_checked: whether the images were decoded.
        leaks: what train and the held-out splits share.
        options: the choices that a second cleaning would need.
        notes: what the data set says that no field takes, and how it was read: columns, encodings, lists.
    """

    corpus: Path | None
    name: str
    caption_style: str
    dataset: str
    licence: str
    read: int
    kept: int
    rejected: dict[str, int]
    splits: dict[str, dict[str, int]]
    modalities: dict[str, int]
    images_checked: bool
    leaks: Leaks
    options: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON; ``report.json`` has the same counts."""
        return {**asdict(self), "corpus": None if self.corpus is None else str(self.corpus)}

    def to_pandas(self) -> DataFrame:
        """Return how many rows ended how: kept, and each reason code."""
        import pandas

        outcomes = {"kept": self.kept, **self.rejected}
        return pandas.DataFrame({"outcome": list(outcomes), "rows": list(outcomes.values())})

    def _repr_html_(self) -> str:
        from medclip_cli import pages

        sizes = ", ".join(f"{split} {size['images']:,}" for split, size in self.splits.items())
        outcomes = {"kept": self.kept, **self.rejected, "read": self.read}
        rows = [(name, f"{count:,}") for name, count in outcomes.items()]
        return pages.table_html(f"{self.name}: {sizes}", ("outcome", "rows"), rows)


def clean(  # noqa: PLR0913 - the options of one command
    dataset: str | DatasetLayout,
    root: Path | str,
    out: Path | str | None,
    *,
    name: str | None = None,
    caption: str | None = None,
    strip_marks: bool = False,
    uncertain: Uncertain = "mention",
    modality: str | Collection[str] = (),
    splits: SplitPolicy = "official",
    seed: int = 0,
    limit: int | None = None,
    captions: Path | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    group_pattern: str | None = None,
    skip_image_check: bool = False,
    strict: bool = False,
    threads: int | None = None,
    copy_images: bool = False,
    force: bool = False,
    on_progress: OnProgress = no_progress,
) -> CleaningReport:
    """Clean a data set and write its corpus.

    Args:
        dataset: a name that ``medclip clean --list`` knows, or a layout of one's own.
        root: the folder it lies in.
        out: the corpus folder to make; None counts without writing.
        name: of the corpus; that of the folder by default.
        caption: a style or a template; the data set's own by default.
        strip_marks: drop de-identification marks and enumeration from free texts.
        uncertain: what a label that the source calls uncertain means.
        modality: the modalities to keep, as a collection or as ``CT,MR``; empty keeps all.
        splits: ``official`` where there are any, ``filtered`` without held-out groups that stand in train,
            or new ones by ``group``.
        seed: of new splits.
        limit: read so many rows at most.
        captions: one's own table of captions; found in the root by default.
        image_column: its column of image paths; guessed by default.
        caption_column: its column of captions; guessed by default.
        group_pattern: regular expression on the image path; what it matches is the patient.
        skip_image_check: clean the metadata alone, without images.
        strict: fail when train leaks into a held-out split.
        threads: images decoded at once; one a core by default.
        copy_images: put copies of the images into the corpus.
        force: replace a corpus that is there.
        on_progress: called for each image that is decoded or copied.

    Raises:
        CorpusError: the data set cannot be read, nothing could be kept, the corpus cannot be written, or
            `strict` found a leak.
        UsageError: a modality, a caption style or a pattern that means nothing here.
    """
    layout = layout_named(dataset) if isinstance(dataset, str) else dataset
    root, out = Path(root), None if out is None else Path(out)
    if copy_images and skip_image_check:
        raise UsageError("copy_images copies images that were checked: leave out skip_image_check")
    named = modality.split(",") if isinstance(modality, str) else modality
    modalities = frozenset(part.strip().upper() for part in named if part.strip())
    if unknown := sorted(modalities - set(MODALITIES)):
        raise UsageError(f"modality {unknown[0]!r} is not one of {', '.join(MODALITIES)}")
    name = name or (out or Path(layout.name)).absolute().name
    # A table of captions that somebody names is one that they want used.
    named_table = layout.is_own and captions is not None
    style = caption or ("report" if named_table else layout.default_caption)
    options = CleaningOptions(
        source=name if layout.is_own else layout.name,
        licence=layout.licence,
        style=caption_style(style, layout, strip_marks=strip_marks),
        modalities=modalities,
        uncertain=uncertain,
        splits=splits,
        seed=seed,
        limit=limit,
    )
    secret = patient_key(load_settings().home) if layout.hashes_patients else b""
    read_options = ReadOptions(
        captions, image_column, caption_column, group_pattern, secret, splits == "group"
    )
    if out:
        check_target(out, force=force)
    with noting() as notes, _readable_root(layout, root, out) as readable:
        cleaning = read_rows(layout.read(readable, read_options), options)
        if unfilled := unfilled_names(cleaning, options.style):
            there = ", ".join(sorted(cleaning.words))
            log.warning(f"no row fills {', '.join(f'{{{name}}}' for name in unfilled)}: there are {there}")
        if not skip_image_check:
            _check_images(cleaning, readable, out, threads, on_progress)
        if not cleaning.records:
            raise _nothing_kept(cleaning, root)
        settle_splits(cleaning, options)
        leaks = find_leaks(cleaning.records, lambda record: cleaning.fine_hashes.get(record.id))
        if leaks.any:
            _report_leaks(leaks, out, strict)
        if layout.is_own and len({record.group for record in cleaning.records}) == len(cleaning.records) > 1:
            log.info(
                "Each image counts as a patient of its own. If that is wrong, add a column patient (or give "
                "group_pattern): images of one patient then stay in one split."
            )
        report = CleaningReport(
            corpus=out,
            name=name,
            caption_style=options.style.name,
            dataset=options.source,
            licence=options.licence,
            read=cleaning.read,
            kept=len(cleaning.records),
            rejected=cleaning.reasons(),
            splits=split_sizes(cleaning.records),
            modalities=dict(Counter(record.modality for record in cleaning.records).most_common()),
            images_checked=not skip_image_check,
            leaks=leaks,
            options={
                "modality": sorted(options.modalities),
                "uncertain": uncertain,
                "splits": splits,
                "seed": seed,
                "limit": limit,
            },
            notes=notes,
        )
        if out:
            _write(report, cleaning, layout, readable, out, copy=copy_images, force=force, notify=on_progress)
    return report


def prepare_corpus(
    source: Corpus | Path | str, home: Path | None = None, on_progress: OnProgress = no_progress
) -> Corpus:
    """Open a corpus, or make one of a folder of one's own images and captions.

    Args:
        source: an opened corpus, its folder, or a folder of images.
        home: where a corpus is made; None takes that of the settings.
        on_progress: called for each image of a folder that is cleaned.

    Raises:
        CorpusError: it is neither, or nothing in it can be used.
    """
    if isinstance(source, Corpus):
        return source
    source = Path(source)
    if not source.is_dir() or (source / REPORT_FILE).exists() or (source / TABLE_FILE).exists():
        return Corpus.open(source)
    if os.environ.get("WORLD_SIZE", "1") != "1":  # torchrun: they would all write the same folder
        raise CorpusError(f"{source} is not a corpus: several processes need one made by medclip clean first")
    # Two folders of one name get a corpus each.
    digest = hashlib.sha256(os.fsencode(source.absolute())).hexdigest()[:8]
    home = home or load_settings().home
    out = home / "corpora" / f"{source.absolute().name or 'images'}-{digest}"
    log.info(f"{source} is not a corpus: cleaning it into {out} first.")
    report = clean(layout_of_folder(source), source, out, force=True, on_progress=on_progress)
    rejected = ", ".join(f"{reason} {count}" for reason, count in report.rejected.items() if count)
    log.info(f"Kept {report.kept} of {report.read} images{f' ({rejected})' if rejected else ''}.")
    return Corpus.open(out)


@contextmanager
def _readable_root(layout: DatasetLayout, root: Path, out: Path | None) -> Iterator[Path]:
    """Give the folder to read; of shards, the one they are unpacked to, which becomes part of the corpus."""
    if layout.unpack is None:
        yield root
    elif out:
        layout.unpack(root, staging_folder(out))
        yield staging_folder(out)
    else:
        with TemporaryDirectory(prefix="medclip-") as folder:
            layout.unpack(root, Path(folder))
            yield Path(folder)


def _check_images(
    cleaning: Cleaning, root: Path, out: Path | None, threads: int | None, on_progress: OnProgress
) -> None:
    try:
        with open_journal(journal_path(out) if out else None, root.absolute()) as journal:
            check_images(cleaning, root, journal=journal, threads=threads, on_progress=on_progress)
    except KeyboardInterrupt:
        if out:
            log.info("the images checked so far are remembered: clean again to go on")
        raise


def _report_leaks(leaks: Leaks, out: Path | None, strict: bool) -> None:
    found = (
        f"{leaks.groups} groups, {leaks.exact_duplicates} exact and {leaks.near_duplicates} near-duplicate "
        "images of held-out splits stand in train"
    )
    if strict:
        raise CorpusError(f"{found}: clean with splits group or filtered, or without strict")
    log.warning(f"{found}: see leaks in {out / REPORT_FILE if out else 'the report'}")


def _write(
    report: CleaningReport,
    cleaning: Cleaning,
    layout: DatasetLayout,
    root: Path,
    out: Path,
    *,
    copy: bool,
    force: bool,
    notify: OnProgress,
) -> None:
    staging = staging_folder(out)
    # Images that the corpus is to hold itself are gathered in one folder first.
    if copy and not layout.unpack:
        copy_images(cleaning.records, root, staging, notify)
    if copy or layout.unpack:
        keep_only(cleaning.records, staging)
        root = staging
    counts = report.to_dict()
    write_corpus(
        out,
        name=report.name,
        image_root=root,
        caption_style=report.caption_style,
        records=cleaning.records,
        rejected=cleaning.rejected,
        report={key: counts[key] for key in counts if key not in ("corpus", "name", "caption_style")},
        force=force,
    )
    journal_path(out).unlink(missing_ok=True)
    rmtree(staging, ignore_errors=True)


# What to do where not one row could be kept, by the commonest reason.
_HINTS = {
    "unsafe_path": ": give the paths of images relative to it, and none outside",
    "missing_image": ": are the images below it? skip_image_check cleans without",
    "missing_caption": ": a table needs a column caption (or caption_column), an image its name.txt",
}


def _nothing_kept(cleaning: Cleaning, root: Path) -> CorpusError:
    if not cleaning.read:
        return CorpusError(f"{root} has no rows: nothing was written")
    reasons = cleaning.reasons()
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    hint = _HINTS.get(next(iter(reasons)), "")
    return CorpusError(f"none of the {cleaning.read} rows of {root} could be kept ({counts}){hint}")
