"""`medclip collections`: list, show, drop, export, import, verify and tune collections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medclip_cli.commands import completion
from medclip_cli.commands import options as opt
from medclip_cli.errors import UsageError
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.vector_index.store import Store
    from medclip_cli.vector_index.verification import Verification

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Collections: list, show, drop, move to another machine, verify.",
    epilog="Example: medclip collections show medpix",
)
Name = Annotated[str, opt.argument("NAME", "The collection.", autocompletion=completion.collections)]
_SHOWN_VALUES = 12


@app.command("list", epilog="Example: medclip collections list --json | jq -r '.[].name'")
def list_(url: opt.ServerUrl = None, offline: opt.Offline = None, as_json: opt.JsonOutput = False) -> None:
    """List the collections: how many images, by which model, from which corpora, how large."""
    location = _location(url, offline)
    found = location.summaries()
    if as_json:
        json_output.write(found)
        return
    keys = ("name", "points", "model")
    rows = [
        (*(one[key] for key in keys), ", ".join(one["corpora"]), _size(one["bytes"]), one["updated"])
        for one in found
        if "error" not in one
    ]
    tables.show("Collections", ("name", "images", "model", "corpora", "size", "updated"), rows)
    if not found:
        console.note(f"No collections in {location.shown}: make one with medclip index.")


def _location(url: str | None, offline: bool | None) -> Store:
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index.store import Store

    return Store.of(load_settings({"qdrant_url": url, "offline": offline}))


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size else "-"


@app.command(epilog="Example: medclip collections show medpix")
def show(
    name: Name, url: opt.ServerUrl = None, offline: opt.Offline = None, as_json: opt.JsonOutput = False
) -> None:
    """Show one collection: its vectors, model, corpora, size, and the values to filter by."""
    from medclip_cli.vector_index.base import info_to_json

    info = _location(url, offline).describe(name)
    if as_json:
        json_output.write(info_to_json(info))
        return
    rows = [
        ("images", f"{info.points:,}"),
        ("vectors", f"image and caption, {info.dim} numbers each, cosine; words, BM25"),
        ("model", f"{info.model_name} ({info.fingerprint}) at {info.model_path}"),
        *((f"corpus {corpus}", source.shown) for corpus, source in info.corpora.items()),
        ("size on disk", _size(info.size_bytes)),
        ("made", info.created),
        ("updated", f"{info.updated}, generation {info.generation}"),
    ]
    tables.show(info.name, ("what", "value"), rows)
    tables.gap()
    fields = [(field, _describe_values(values)) for field, values in info.fields.items()]
    tables.show("Filters", ("field", "values"), fields)


def _describe_values(values: Any) -> str:  # noqa: ANN401
    shown = [f"{value} {count:,}" for value, count in list(values.items())[:_SHOWN_VALUES]]
    return "; ".join(shown) + (f"; {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else "")


@app.command(epilog="Example: medclip collections drop medpix --yes")
def drop(
    name: Name,
    yes: Annotated[bool, opt.option("Do not prompt for confirmation.", "--yes", "-y")] = False,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
) -> None:
    """Remove a collection from disk; corpus, images and model stay."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"dropping {name!r} cannot be undone: confirm with --yes")
        typer.confirm(f"Drop collection {name!r}?", abort=True, err=True)
    _location(url, offline).drop(name)
    console.note(f"Dropped {name!r}.")


@app.command("export", epilog="Example: medclip collections export medpix --out medpix.medclip --with-model")
def export_(
    name: Name,
    out: Annotated[
        Path | None, opt.option("The file to write. [default: NAME.medclip]", "--out", "-o")
    ] = None,
    with_model: Annotated[bool, opt.option("Include the model folder.", "--with-model")] = False,
    force: opt.Force = False,
    as_json: opt.JsonOutput = False,
) -> None:
    """Write a collection to one checksummed file; it holds captions and vectors, but no images."""
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index import archive

    target = out or Path(f"{name}{archive.SUFFIX}")
    info = archive.export_collection(load_settings().home, name, target, with_model=with_model, force=force)
    outcome = {"file": target, "collection": name, "points": info.points, "bytes": target.stat().st_size}
    if as_json:
        json_output.write(outcome)
    else:
        console.out(str(target))
        console.note(f"{info.points:,} images, {_size(target.stat().st_size)}.")


@app.command("import", epilog="Example: medclip collections import medpix.medclip --name medpix-2026")
def import_(
    source: Annotated[Path, opt.argument("FILE", "Written by medclip collections export.")],
    name: Annotated[
        str | None, opt.option("Name of the collection. [default: the one it had]", "--name")
    ] = None,
    force: opt.Force = False,
    as_json: opt.JsonOutput = False,
) -> None:
    """Import a collection from a file; a damaged or altered file is refused, and nothing changes."""
    from medclip_cli.settings import load_settings
    from medclip_cli.vector_index import archive

    imported = archive.import_collection(load_settings().home, source, name=name, force=force)
    if as_json:
        json_output.write(imported.info.summary() | {"model_path": imported.info.model_path})
    else:
        console.out(imported.info.name)
        console.note(f"{imported.info.points:,} images, model {imported.info.model_path}.")
    if imported.model_fault:
        console.warn(
            f"imported, but its model cannot be used ({imported.model_fault}): name one with --model"
        )


@app.command(epilog="Example: medclip collections verify medpix")
def verify(
    name: Name, url: opt.ServerUrl = None, offline: opt.Offline = None, as_json: opt.JsonOutput = False
) -> None:
    """Read every file and point of a collection, and compare the points with the corpora they came from.

    Exit code 1 when anything is wrong.
    """
    from medclip_cli.vector_index.verification import verify_collection

    with _location(url, offline).open(name) as index:
        found = verify_collection(index)
    if as_json:
        json_output.write(found.to_dict())
    else:
        _show_verification(name, found)
    if not found.sound:
        raise typer.Exit(1)


def _show_verification(name: str, found: Verification) -> None:
    rows = [
        (corpus, check.points, len(check.missing), len(check.changed), len(check.extra), check.unreadable)
        for corpus, check in found.corpora.items()
    ]
    columns = ("corpus", "points", "missing", "changed", "extra", "not compared")
    tables.show(f"{name}: {found.points:,} points", columns, rows)
    if found.damage:
        console.warn(f"{found.damage}")
    if found.bad_vectors:
        console.warn(f"{len(found.bad_vectors)} points have invalid vectors: index again with --rebuild")
    if any(check.missing or check.changed or check.extra for check in found.corpora.values()):
        console.warn("the collection is not up to date: update it with medclip index CORPUS --prune")
    if found.sound:
        console.note("All files, vectors and records are intact.")


@app.command(epilog="Example: medclip collections tune medpix work/medpix --split val")
def tune(
    name: Name,
    source: Annotated[Path, opt.argument("CORPUS", "The corpus of the held-out captions.")],
    split: Annotated[Literal["val", "test"], opt.option("Split of the queries.")] = "val",
    model: opt.ModelPath = None,
    top: opt.Top = 10,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """Learn how much words and vectors should count in hybrid search, and keep that with the collection.

    The captions of a held-out split are the queries; an answer is worth the share of modality, view, region
    and category that it shares with the image whose caption is the query.
    """
    from medclip_cli.evaluation import tuning

    report = tuning.tune(_location(url, offline), name, source, split=split, model=model, top=top)
    if as_json:
        json_output.write(report.to_dict())
        return
    rows = [(*s.weights, s.ndcg, "best" if s == report.best else "") for s in report.scores]
    tables.show(f"{name}: nDCG@{top} on {split}", ("vectors", "words", "nDCG", ""), rows)
