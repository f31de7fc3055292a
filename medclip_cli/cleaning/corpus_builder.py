"""What `clean` does, for every command that makes a corpus: read, clean, settle the splits, write."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.records import MODALITIES
from medclip_cli.terminal import console, progress

if TYPE_CHECKING:
    from medclip_cli.cleaning.captions import Uncertain
    from medclip_cli.cleaning.leaks import Leaks
    from medclip_cli.cleaning.pipeline import Cleaning, CleaningOptions, SplitPolicy
    from medclip_cli.records import CaptionedImage


@dataclass(frozen=True, slots=True)
class CleaningJob:
    """Everything `medclip clean` may be told.

    Attributes:
        layout: of the data set.
        root: the folder it lies in.
        out: the corpus folder to make; None counts without writing.
        name: of the corpus.
        caption: a style or a template; None takes the data set's own.
        strip_marks: drop de-identification marks and enumeration from free texts.
        uncertain: what a label the source calls uncertain means.
        modalities: the ones to keep; empty keeps all.
        splits: where the splits come from.
        seed: of new splits.
        limit: read so many rows at most.
        read_options: what the adapter is told.
        check_images: whether images are decoded.
        strict: fail on a leak.
        threads: images decoded at once; None for one a core.
        copy_images: put copies of the images into the corpus.
        force: replace a corpus that is there.
    """

    layout: DatasetLayout
    root: Path
    out: Path | None
    name: str
    caption: str | None = None
    strip_marks: bool = False
    uncertain: Uncertain = "mention"
    modalities: frozenset[str] = frozenset()
    splits: SplitPolicy = "official"
    seed: int = 0
    limit: int | None = None
    read_options: ReadOptions = field(default_factory=ReadOptions)
    check_images: bool = True
    strict: bool = False
    threads: int | None = None
    copy_images: bool = False
    force: bool = False


def parse_modalities(text: str | None) -> frozenset[str]:
    """Return the modalities of ``--modality CT,MR``.

    Raises:
        UsageError: one of them is not known.
    """
    asked = [part.strip().upper() for part in (text or "").split(",") if part.strip()]
    for modality in asked:
        if modality not in MODALITIES:
            raise UsageError(f"no modality {modality!r}: choose from {', '.join(MODALITIES)}")
    return frozenset(asked)


def make_corpus(job: CleaningJob) -> dict[str, Any]:
    """Clean a data set and write its corpus.

    Returns:
        what was counted, as ``report.json`` has it.

    Raises:
        CorpusError: the data set cannot be read, nothing could be kept, the corpus cannot be written, or
            ``strict`` found a leak.
        UsageError: the caption style means nothing here.
    """
    from medclip_cli.corpora.corpus_folder import check_target

    if job.copy_images and not job.check_images:
        raise UsageError("--copy-images copies what was looked at: leave out --skip-image-check")
    options = _cleaning_options(job)
    if job.out:
        check_target(job.out, force=job.force)
    with _readable_root(job) as root:
        return _make(replace(job, root=root), options, asked=job.root)


def _make(job: CleaningJob, options: CleaningOptions, *, asked: Path) -> dict[str, Any]:
    from medclip_cli.cleaning import report as counts
    from medclip_cli.cleaning.leaks import find_leaks
    from medclip_cli.cleaning.pipeline import read_rows, settle_splits
    from medclip_cli.corpora.corpus_folder import write_corpus

    cleaning = read_rows(job.layout.read(job.root, _read_options(job)), options)
    _warn_of_unfilled_names(cleaning, options)
    if job.check_images:
        _check_images(cleaning, job)
    if not cleaning.records:
        raise CorpusError(_why_nothing(cleaning, asked))
    settle_splits(cleaning, options)
    leaks = find_leaks(cleaning.records, lambda record: cleaning.fine_hashes.get(record.id))
    _judge_leaks(leaks, job)
    _say_who_is_a_patient(cleaning.records, job)
    report = counts.build_report(cleaning, options, leaks, images_checked=job.check_images)
    if job.out:
        write_corpus(
            job.out,
            name=job.name,
            image_root=_image_root(job, job.out, cleaning.records),
            caption_style=options.style.name,
            records=cleaning.records,
            rejected=cleaning.rejected,
            report=report,
            force=job.force,
        )
        _forget_unfinished(job.out)
    return {"corpus": job.out, "name": job.name, "caption_style": options.style.name, **report}


@contextmanager
def _readable_root(job: CleaningJob) -> Iterator[Path]:
    """Give the folder to read; of shards, the one they are unpacked to, which becomes part of the corpus."""
    from medclip_cli.corpora.image_copies import staging_folder

    if job.layout.unpack is None:
        yield job.root
    elif job.out:
        staging = staging_folder(job.out)
        job.layout.unpack(job.root, staging)
        yield staging
    else:
        with TemporaryDirectory(prefix="medclip-") as folder:
            job.layout.unpack(job.root, Path(folder))
            yield Path(folder)


def _image_root(job: CleaningJob, out: Path, records: Sequence[CaptionedImage]) -> Path:
    """Return the folder of the images; those that the corpus is to hold itself are gathered in one first."""
    from medclip_cli.corpora.image_copies import copy_images, keep_only, staging_folder

    unpacked = job.layout.unpack is not None
    if not (job.copy_images or unpacked):
        return job.root
    staging = staging_folder(out)
    if not unpacked:
        with progress.track("Copying", len(records), "images") as bar:
            copy_images(records, job.root, staging, on_image=lambda: bar.advance())
    keep_only(records, staging)
    return staging


def _forget_unfinished(out: Path) -> None:
    from medclip_cli.corpora.image_copies import staging_folder

    _journal_file(out).unlink(missing_ok=True)
    rmtree(staging_folder(out), ignore_errors=True)


def _cleaning_options(job: CleaningJob) -> CleaningOptions:
    from medclip_cli.cleaning.captions import StyleChoices, caption_style
    from medclip_cli.cleaning.pipeline import CleaningOptions

    layout = job.layout
    choices = StyleChoices(layout.texts, layout.sentence, layout.fields, layout.has_labels)
    return CleaningOptions(
        source=job.name if layout.is_own else layout.name,
        licence=layout.licence,
        style=caption_style(job.caption or _default_caption(job), choices, strip_marks=job.strip_marks),
        modalities=job.modalities,
        uncertain=job.uncertain,
        splits=job.splits,
        seed=job.seed,
        limit=job.limit,
    )


def _read_options(job: CleaningJob) -> ReadOptions:
    if not job.layout.hashes_patients:
        return job.read_options
    from medclip_cli.corpora.dicom import patient_key
    from medclip_cli.settings import load_settings

    return replace(job.read_options, secret=patient_key(load_settings().home))


def _default_caption(job: CleaningJob) -> str:
    # A table of captions that somebody names is one that they want used.
    named = job.layout.is_own and job.read_options.captions_file is not None
    return "report" if named else job.layout.default_caption


def _check_images(cleaning: Cleaning, job: CleaningJob) -> None:
    from encoders.images import read_image
    from medclip_cli.cleaning.journal import open_journal
    from medclip_cli.cleaning.pipeline import check_images

    journal_file = _journal_file(job.out) if job.out else None
    try:
        with (
            open_journal(journal_file, job.root.absolute()) as journal,
            progress.track("Decoding", len(cleaning.records), "images") as bar,
        ):
            check_images(
                cleaning,
                job.root,
                read_image,
                journal=journal,
                threads=job.threads,
                on_image=lambda kept: bar.advance() if kept else bar.fail(),
            )
    except KeyboardInterrupt:
        if journal_file:
            console.note("the images looked at so far are remembered: run the same command again to go on")
        raise


def _journal_file(out: Path) -> Path:
    from medclip_cli.cleaning.journal import journal_path

    return journal_path(out)


def _warn_of_unfilled_names(cleaning: Cleaning, options: CleaningOptions) -> None:
    from medclip_cli.cleaning.pipeline import unfilled_names

    names = unfilled_names(cleaning, options.style)
    if names:
        there = ", ".join(sorted(cleaning.words))
        console.warn(f"no row fills {', '.join(f'{{{name}}}' for name in names)}: there are {there}")


def _say_who_is_a_patient(records: Sequence[CaptionedImage], job: CleaningJob) -> None:
    """Say it when images of one patient could stand on both sides of a split for want of a column."""
    if job.layout.is_own and len({record.group for record in records}) == len(records) > 1:
        console.note(
            "Each image counts as a patient of its own. If it is not so, add a column patient (or give "
            "medclip clean --group-pattern): images of one patient then stay in one split."
        )


def _judge_leaks(leaks: Leaks, job: CleaningJob) -> None:
    from medclip_cli.corpora.corpus_folder import REPORT_FILE

    if not leaks.any:
        return
    found = (
        f"{leaks.groups} groups, {leaks.exact_duplicates} exact and {leaks.near_duplicates} near-duplicate "
        "images of held-out splits stand in train"
    )
    if job.strict:
        raise CorpusError(f"{found}: clean with --splits group or filtered, or without --strict")
    console.warn(f"{found}: see leaks in {job.out / REPORT_FILE if job.out else 'the report'}")


# What to do where not one row could be kept, by the commonest reason.
_HINTS = {
    "unsafe_path": ": give the paths of images relative to it, and none outside",
    "missing_image": ": are the images below it? medclip clean --skip-image-check cleans without",
    "missing_caption": ": a table needs a column caption (or --caption-column), an image its name.txt",
}


def _why_nothing(cleaning: Cleaning, root: Path) -> str:
    if not cleaning.read:
        return f"{root} has no rows: nothing was written"
    reasons: Mapping[str, int] = cleaning.reasons()
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    hint = _HINTS.get(max(reasons, key=lambda reason: reasons[reason]), "")
    return f"none of the {cleaning.read} rows of {root} could be kept ({counts}){hint}"


def prepare_corpus(source: Path, home: Path) -> Path:
    """Return a corpus folder: the one given, or one made of a folder of one's own images and captions.

    Raises:
        CorpusError: it is neither, or nothing in it can be used.
    """
    from medclip_cli.corpora.corpus_folder import REPORT_FILE, TABLE_FILE

    if not source.is_dir() or (source / REPORT_FILE).exists() or (source / TABLE_FILE).exists():
        return source
    if os.environ.get("WORLD_SIZE", "1") != "1":  # torchrun: they would all write the same folder
        raise CorpusError(f"{source} is no corpus: several processes need one made by medclip clean first")
    digest = hashlib.sha256(os.fsencode(source.absolute())).hexdigest()[:8]
    # Two folders of one name get a corpus each.
    out = home / "corpora" / f"{source.absolute().name or 'images'}-{digest}"
    console.note(f"{source} is no corpus: cleaning it into {out} first.")
    _clean(source, out)
    return out


def _clean(source: Path, out: Path) -> None:
    from medclip_cli.corpora.registry import layout_of_folder

    job = CleaningJob(layout_of_folder(source), source, out, out.name, force=True)
    report = make_corpus(job)
    rejected = ", ".join(f"{reason} {count}" for reason, count in report["rejected"].items() if count)
    console.note(f"Kept {report['kept']} of {report['read']} images{f' ({rejected})' if rejected else ''}.")
