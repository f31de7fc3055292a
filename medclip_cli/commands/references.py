"""The true captions of the images that are asked, and how near an answer comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError
from medclip_cli.rendering import console

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.engines import Source
    from medclip_cli.records import CaptionedImage
    from medclip_cli.scoring.single import DocumentFrequencies
    from medclip_cli.vector_index.base import VectorIndex

    Meteor = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], float]

_DAY_IN_SECONDS = 24 * 3600.0  # however many images are asked, the program that scores them may go on


class References:
    """Knows the true captions of images: those that were given, or those of their rows in a corpus."""

    def __init__(
        self,
        texts: Sequence[str],
        rows: dict[Path, CaptionedImage],
        known: DocumentFrequencies,
        meteor: Meteor | None,
    ) -> None:
        """Use `open_references`."""
        self._texts, self._rows = tuple(texts), rows
        self._known, self._meteor = known, meteor

    def of(self, source: Source) -> tuple[str, ...]:
        """The true captions of an image; none where nobody knows them."""
        row = self._row(source)
        return self._texts + (row.captions if row else ())

    def own_group(self, source: Source) -> frozenset[str]:
        """The patient, case or article of an image, which must not answer for it; empty where not known."""
        row = self._row(source)
        return frozenset({row.group}) if row and row.group else frozenset()

    def scores(self, source: Source, caption: str | None) -> dict[str, float] | None:
        """Score an answer by name; no caption scores 0, and an image without references gets None."""
        from medclip_cli.scoring.single import score_caption
        from medclip_cli.scoring.tokenizers import tokenize_once, tokenizer_named

        references = self.of(source)
        if not references:
            return None
        scores = score_caption(caption or "", references, self._known)
        if self._meteor is not None:
            candidate, *true = tokenize_once([caption or "", *references], tokenizer_named("ptb"))
            cider = scores.pop("cider")  # which stays the last one
            scores |= {"meteor": self._meteor(candidate, true), "cider": cider}
        return scores

    def _row(self, source: Source) -> CaptionedImage | None:
        return self._rows.get(source.resolve()) if isinstance(source, Path) and self._rows else None


@contextmanager
def open_references(
    texts: Sequence[str], corpus: Path | None, index: VectorIndex
) -> Iterator[References | None]:
    """Prepare the true captions; None when none are given.

    CIDEr weighs words by how few captions have them: those of the corpus's training split, or those of the
    collection where no corpus is named.

    Args:
        texts: true captions of every image that is asked.
        corpus: a corpus folder that images may be rows of.
        index: the collection that answers.

    Raises:
        CorpusError: there is no corpus there.
        UsageError: a reference is empty.
    """
    if not texts and corpus is None:
        yield None
        return
    from medclip_cli.corpora.corpus_folder import open_corpus
    from medclip_cli.scoring.meteor import ABSENT, find_meteor, meteor_at_hand
    from medclip_cli.scoring.single import DocumentFrequencies

    if any(not text.strip() for text in texts):
        raise UsageError("--reference is empty: give the true caption")
    opened = open_corpus(corpus) if corpus else None
    if opened:
        known = DocumentFrequencies.of(row.captions for row in opened.split("train") or opened.records)
    else:
        known = DocumentFrequencies.of([str(point.payload["caption"])] for point in index.points())
    program = find_meteor()
    if program is None:
        console.note(ABSENT)
    with meteor_at_hand(program, time_limit_seconds=_DAY_IN_SECONDS) if program else nullcontext() as meteor:
        yield References(texts, _rows_of(opened) if opened else {}, known, meteor)


def _rows_of(corpus: Corpus) -> dict[Path, CaptionedImage]:
    root = corpus.image_root.resolve()
    return {root / row.image: row for row in corpus.records}
