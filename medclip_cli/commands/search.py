"""`medclip search`: images by words, by example images, or by both."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import inputs
from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED, UsageError
from medclip_cli.records import DISCLAIMER
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.collection import Hits
    from medclip_cli.terminal.pictures import Mode

EXAMPLE = "Example: medclip search 'sagittal MR of the spine' -k 5 --where modality=MR"
_ranking, _examples = opt.panel("Ranking"), opt.panel("Example images")


def search(
    words: Annotated[
        str | None, opt.argument("TEXT", "What to search for; '-' reads texts from stdin, one per line.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        _examples("Find images like this one. Repeatable.", "--image", "-i", metavar="FILE"),
    ] = None,
    unlike: Annotated[
        list[Path] | None, _examples("... and unlike this one. Repeatable.", "--not-image", metavar="FILE")
    ] = None,
    combine: Annotated[
        Literal["mean", "rrf"],
        _examples("Several examples: search near their mean, or fuse one ranking of each."),
    ] = "mean",
    mode: Annotated[
        Literal["hybrid", "dense", "words"],
        _ranking("dense: by vector similarity; words: by the captions' words (BM25); hybrid: both, fused."),
    ] = "hybrid",
    fusion: Annotated[
        Literal["rrf", "dbsf"], _ranking("Fuse by reciprocal rank or by normalised score.")
    ] = "rrf",
    diverse: Annotated[
        float | None,
        _ranking(
            "Prefer hits unlike each other: 0 not at all, 1 above all (maximal marginal relevance).",
            min=0,
            max=1,
        ),
    ] = None,
    exact: Annotated[bool, _ranking("Compare with every vector; slower.", "--exact")] = False,
    exclude_groups: Annotated[
        list[str] | None,
        opt.query("Leave out this patient or case. Repeatable.", "--exclude-group", metavar="GROUP"),
    ] = None,
    top: opt.Top = 10,
    where: opt.Where = None,
    min_score: opt.MinScore = None,
    collection: opt.CollectionName = None,
    model: opt.ModelPath = None,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
    lock_timeout: opt.LockTimeout = None,
    html: opt.Html = None,
    pictures: opt.Pictures = "auto",
    as_json: opt.JsonOutput = False,
) -> None:
    """Find known images by words, by example images, or by both."""
    from medclip_cli.collection import conditions, open_collection
    from medclip_cli.vector_index.base import Query

    several = words == inputs.STDIN
    if not ((words or "").strip() or images or unlike):
        raise UsageError("nothing to search for: give words, or --image FILE")
    matching = conditions(where)
    answered = failed = 0
    with ExitStack() as stack:
        opened = stack.enter_context(
            open_collection(collection, url=url, model=model, offline=offline, lock_timeout=lock_timeout)
        )
        if html is not None:
            from medclip_cli.pages import open_gallery

            made_by = f"model {opened.info.model_name}, collection {opened.info.name}"
            add = stack.enter_context(open_gallery(html, f"Found in {opened.info.name}", made_by))
        for text in inputs.stdin_lines() if several else [words]:
            try:
                Query(words=text)  # refuses what is no text
            except UsageError as error:
                if not several:
                    raise
                if as_json:
                    json_output.write_line({"query": text, "error": str(error)})
                console.warn(str(error))
                failed += 1
                continue
            hits = opened.search(
                text,
                images=images or (),
                not_like=unlike or (),
                where=matching,
                mode=mode,
                k=top,
                min_score=min_score,
                combine=combine,
                fusion=fusion,
                diversity=diverse,
                exact=exact,
                exclude_groups=exclude_groups or (),
            )
            answered += 1
            if html is not None:
                add(hits.card())
            if as_json:
                _write(hits, several)
            else:
                show(hits, opened.info.name, several, pictures)
    if html is not None:
        console.note(f"wrote {html}")
    if several and answered and not as_json:
        console.note(DISCLAIMER)
    if failed:
        raise typer.Exit(SOME_FAILED if answered else 1)


def _write(hits: Hits, several: bool) -> None:
    if several:
        json_output.write_line(hits.to_dict())
    else:
        json_output.write(hits.to_dict()["found"])


def show(hits: Hits, collection: str, several: bool = False, mode: Mode = "auto") -> None:
    """Print the hits of a search; of several, with its words above."""
    from medclip_cli.terminal.pictures import show_files

    if several:
        console.prose(f"{hits.words}:" if hits else f"{hits.words}: nothing matches")
        if not hits:
            return
    show_files([(f"{hit.rank}  {hit.score:.3f}", hit.path) for hit in hits], mode)
    rows: list[tuple[tables.Cell, ...]] = [(hit.rank, hit.score, hit.image, hit.caption) for hit in hits]
    tables.show(f"Found in {collection}", ("rank", "score", "image", "caption"), rows)
    if not several:
        console.note(DISCLAIMER if hits else "Nothing matches: loosen --where or --min-score.")
