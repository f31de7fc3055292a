"""`medclip corpus`: look into a corpus, merge several, hand one to other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medclip_cli.commands.options import Debug, Force, Html, JsonOutput, Quiet, Verbose
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.private_files import open_private_text
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.records import CaptionedImage

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Corpora: show, merge, export.",
    epilog="Example: medclip corpus show work/medpix",
)
CorpusPath = Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus made by medclip clean.")]


class ExportFormat(str, Enum):
    """What a corpus is written as."""

    jsonl = "jsonl"
    csv = "csv"
    webdataset = "webdataset"


@app.command("show", epilog="Example: medclip corpus show work/medpix --html medpix.html")
def show(
    corpus: CorpusPath,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="How many rows to show.")] = 10,
    html: Html = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Count what a corpus holds, by split, modality, view and region, and show some of its rows."""
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.corpora.statistics import describe_corpus

    opened = Corpus.open(corpus)
    described = describe_corpus(opened, samples=samples)
    if html:
        _write_page(html, described, opened)
    if as_json:
        json_output.write(described)
    else:
        _show(described)


@app.command("merge", epilog="Example: medclip corpus merge work/medpix work/nih --out work/both")
def merge(
    corpora: Annotated[
        list[Path], typer.Argument(metavar="CORPUS...", help="Corpora made by medclip clean, two or more.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The corpus folder to make.")],
    name: Annotated[
        str | None,
        typer.Option(help="The corpus's name. [default: that of the --out folder]"),
    ] = None,
    force: Force = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Make one corpus of several: ids stay unique, groups whole, rows that come twice are counted once."""
    from medclip_cli.corpora.corpus_folder import Corpus, check_target, write_corpus
    from medclip_cli.corpora.merging import merge_corpora

    check_target(out, force=force)
    opened = [Corpus.open(path) for path in corpora]
    merged = merge_corpora(opened)
    report = _merge_report(opened, merged)
    write_corpus(
        out,
        name=name or out.absolute().name,
        image_root=merged.image_root,
        caption_style=", ".join(dict.fromkeys(corpus.caption_style for corpus in opened)),
        records=merged.records,
        rejected=merged.rejected,
        report=report,
        force=force,
    )
    if as_json:
        json_output.write({"corpus": out, **report})
    else:
        _show_merge(report)
    console.note(f"wrote {out}: {report['kept']} of {report['read']} rows kept")


@app.command("export", epilog="Example: medclip corpus export work/medpix --format csv --out medpix.csv")
def export(
    corpus: CorpusPath,
    kind: Annotated[ExportFormat, typer.Option("--format", help="What to write.")] = ExportFormat.jsonl,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file, or for webdataset the folder. [default: stdout]"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Only train, val or test. [default: all]"),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Rows in one webdataset shard.")] = 10_000,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Write a corpus for other programs: JSON Lines, CSV, or WebDataset shards with the images in them."""
    from medclip_cli.corpora.corpus_folder import Corpus

    opened = Corpus.open(corpus)
    records = _of_split(opened, split)
    if kind is ExportFormat.webdataset:
        _export_shards(opened, records, out, shard_size)
        return
    _export_table(records, kind, out)


def _show(described: dict[str, Any]) -> None:
    words = described["caption_words"]
    facts = [
        ("images", described["images"]),
        ("groups", described["groups"]),
        ("captions by", described["caption_style"]),
        ("different captions", described["different_captions"]),
        ("words of a caption", f"{words['shortest']} to {words['longest']}, median {words['median']:g}"),
        ("vocabulary", described["vocabulary"]),
        ("duplicate images", described["duplicate_images"]),
    ]
    tables.show(f"Corpus {described['name']}", ("what", "value"), facts)
    sizes = [(name, size["images"], size["groups"]) for name, size in described["splits"].items()]
    _show_next("Splits", ("split", "images", "groups"), sizes)
    for key, title in (("modalities", "modality"), ("views", "view"), ("regions", "region")):
        _show_next(title.capitalize(), (title, "images"), list(described[key].items()))
    rows = [(s["id"], s["split"], s["modality"], s["caption"]) for s in described["samples"]]
    _show_next("Samples", ("id", "split", "modality", "caption"), rows)


def _show_next(title: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    tables.gap()
    tables.show(title, columns, rows)


def _show_merge(report: dict[str, Any]) -> None:
    rows = [("kept", report["kept"]), *report["rejected"].items(), ("read", report["read"])]
    tables.show("Rows", ("outcome", "rows"), rows)
    sizes = [(name, size["images"], size["groups"]) for name, size in report["splits"].items()]
    _show_next("Splits", ("split", "images", "groups"), sizes)


def _merge_report(opened: list[Corpus], merged: Any) -> dict[str, Any]:  # noqa: ANN401 - Merged, lazily imported
    from medclip_cli.cleaning.leaks import find_leaks
    from medclip_cli.cleaning.report import split_sizes

    leaks = find_leaks(merged.records, _fine_hash(merged.image_root))
    if leaks.any:
        console.warn(
            f"{leaks.exact_duplicates} exact and {leaks.near_duplicates} near-duplicate images of held-out "
            "splits stand in train: see leaks in report.json"
        )
    return {
        "merged": [corpus.name for corpus in opened],
        "licence": "; ".join(sorted({record.licence for record in merged.records})),
        "read": sum(len(corpus.records) for corpus in opened),
        "kept": len(merged.records),
        "rejected": {"duplicate_row": len(merged.rejected)} if merged.rejected else {},
        "renamed": merged.renamed,
        "moved_to_keep_groups_whole": merged.moved,
        "splits": split_sizes(merged.records),
        "leaks": leaks.as_dict(),
    }


def _fine_hash(root: Path) -> Callable[[CaptionedImage], bytes | None]:
    """Return what looks at an image again when its coarse hash is like another's; most are never opened."""
    from functools import lru_cache

    from encoders.errors import ScanError
    from encoders.images import read_image
    from medclip_cli.cleaning.hashes import difference_hashes

    @lru_cache(maxsize=65_536)
    def of_image(image: str) -> bytes | None:
        try:
            return bytes.fromhex(difference_hashes(read_image(root / image))[1])
        except ScanError:
            return None

    return lambda record: of_image(record.image)


def _of_split(corpus: Corpus, split: str | None) -> tuple[CaptionedImage, ...]:
    from medclip_cli.records import SPLITS

    if split is None:
        return corpus.records
    if split not in SPLITS:
        raise UsageError(f"no split {split!r}: choose from {', '.join(SPLITS)}")
    return corpus.split(split)


def _export_table(records: tuple[CaptionedImage, ...], kind: ExportFormat, out: Path | None) -> None:
    from medclip_cli.corpora.exporting import write_csv, write_jsonl

    write = write_csv if kind is ExportFormat.csv else write_jsonl
    if out is None:
        write(records, sys.stdout)
        return
    part = out.with_name(out.name + ".part")
    try:
        with open_private_text(part, newline="") as file:
            count = write(records, file)
        part.replace(out)
    except OSError as error:
        raise CorpusError(f"cannot write {out} ({error.strerror}): give another --out") from error
    console.note(f"wrote {out}: {count} rows")


def _export_shards(
    corpus: Corpus, records: tuple[CaptionedImage, ...], out: Path | None, shard_size: int
) -> None:
    from medclip_cli.corpora.exporting import write_shards

    if out is None:
        raise UsageError("webdataset shards need a folder: give --out FOLDER")
    with progress.track("Packing", len(records), "images") as bar:
        shards = write_shards(
            corpus, out, records=records, rows_per_shard=shard_size, on_image=lambda: bar.advance()
        )
    console.note(f"wrote {out}: {len(shards)} shards, {len(records)} rows")


def _write_page(path: Path, described: dict[str, Any], corpus: Corpus) -> None:
    from medclip_cli.pages.corpus_page import corpus_page
    from medclip_cli.pages.thumbnails import jpeg, thumbnails
    from medclip_cli.pages.web_page import write_page

    samples = thumbnails([corpus.image_root / sample["image"] for sample in described["samples"]])
    write_page(path, corpus_page(described, [jpeg(sample) for sample in samples]))
    console.note(f"wrote {path}")
