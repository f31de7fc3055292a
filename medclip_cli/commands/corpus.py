"""`medclip corpus`: look into a corpus, merge several, hand one to other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medclip_cli.commands import options as opt
from medclip_cli.commands.clean import show_counts
from medclip_cli.errors import UsageError
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Corpora: show, merge, export.",
    epilog="Example: medclip corpus show work/medpix",
)


@app.command("show", epilog="Example: medclip corpus show work/medpix --html medpix.html")
def show(
    corpus: opt.CleanedCorpus,
    samples: Annotated[int, opt.option("How many rows to show.", min=0, max=1000)] = 10,
    html: opt.Html = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """Count what a corpus holds, by split, modality, view and region, and show some of its rows."""
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.corpora.merging import describe_corpus

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
    corpora: Annotated[list[Path], opt.argument("CORPUS...", "Corpora made by medclip clean, two or more.")],
    out: opt.CorpusOut,
    name: opt.CorpusName = None,
    force: opt.Force = False,
    as_json: opt.JsonOutput = False,
) -> None:
    """Make one corpus of several: ids stay unique, groups whole, rows that come twice are counted once."""
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.corpora.merging import merge_corpora

    report = merge_corpora([Corpus.open(path) for path in corpora], out, name=name, force=force)
    if as_json:
        json_output.write(report.to_dict())
    else:
        show_counts(report.to_dict())
    console.note(f"wrote {out}: {report.kept} of {report.read} rows kept")


@app.command("export", epilog="Example: medclip corpus export work/medpix --format csv --out medpix.csv")
def export(
    corpus: opt.CleanedCorpus,
    kind: Annotated[
        Literal["jsonl", "csv", "webdataset"], opt.option("What to write.", "--format")
    ] = "jsonl",
    out: Annotated[
        Path | None, opt.option("The file, or for webdataset the folder. [default: stdout]", "--out", "-o")
    ] = None,
    split: Annotated[str | None, opt.option("Only train, val or test. [default: all]")] = None,
    shard_size: Annotated[int, opt.option("Rows in one webdataset shard.", min=1)] = 10_000,
) -> None:
    """Write a corpus for other programs: JSON Lines, CSV, or WebDataset shards with the images in them."""
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.corpora.exporting import export_table, write_shards

    opened = Corpus.open(corpus)
    records = opened.records if split is None else opened.split(split)
    if kind != "webdataset":
        count = export_table(records, kind, out or sys.stdout)
        if out:
            console.note(f"wrote {out}: {count} rows")
        return
    if out is None:
        raise UsageError("webdataset shards need a folder: give --out FOLDER")
    with progress.reported() as on_progress:
        shards = write_shards(opened, out, records, rows_per_shard=shard_size, on_progress=on_progress)
    console.note(f"wrote {out}: {len(shards)} shards, {len(records)} rows")


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


def _write_page(path: Path, described: dict[str, Any], corpus: Corpus) -> None:
    from medclip_cli.pages import corpus_page, write_page

    pictures = [corpus.image_root / sample["image"] for sample in described["samples"]]
    write_page(path, corpus_page(described, pictures))
    console.note(f"wrote {path}")
