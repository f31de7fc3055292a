"""The true captions of the images that are asked, and how near an answer comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError
from medclip_cli.terminal import console

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Source
    from medclip_cli.records import CaptionedImage
    from medclip_cli.scoring.per_caption import DocumentFrequencies
    from medclip_cli.vector_index.base import VectorIndex

    Meteor = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], float]

_DAY_IN_SECONDS = 24 * 3600.0  # however many images are asked, the program that scores them may go on


class References:
    """Knows the true captions of images: those that were given, or those of their rows in a corpus."""

    def __init__(
        self,
        texts: Sequence[str],
        rows: Rows | None,
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
        from medclip_cli.scoring.captions import tokenize_captions
        from medclip_cli.scoring.per_caption import score_caption

        references = self.of(source)
        if not references:
            return None
        scores = score_caption(caption or "", references, self._known)
        if self._meteor is not None:
            candidate, *true = tokenize_captions([caption or "", *references])
            cider = scores.pop("cider")  # which stays the last one
            scores |= {"meteor": self._meteor(candidate, true), "cider": cider}
        return scores

    def _row(self, source: Source) -> CaptionedImage | None:
        return self._rows.of(source) if isinstance(source, Path) and self._rows else None


class Rows:
    """Finds the row of an image in a corpus: by its place, else by its bytes: images are copied and moved."""

    def __init__(self, corpus: Corpus) -> None:
        """Read the rows of a corpus; images are not opened."""
        root = corpus.image_root.resolve()
        self._corpus = corpus
        self._by_place = {root / row.image: row for row in corpus.records}
        self._by_bytes = {row.sha256: row for row in reversed(corpus.records) if row.sha256}
        self._found: dict[Path, CaptionedImage | None] = {}

    def of(self, image: Path) -> CaptionedImage | None:
        """The row of an image; None, which is said, when it has none."""
        if image not in self._found:
            self._found[image] = self._find(image)
            if self._found[image] is None:
                console.note(f"{image} is no image of {self._corpus.path}: its true caption is not known.")
        return self._found[image]

    def _find(self, image: Path) -> CaptionedImage | None:
        row = self._by_place.get(image.resolve())
        if row is None and self._by_bytes:
            with suppress(OSError):  # whoever opens it next says what is wrong with it
                row = self._by_bytes.get(sha256(image.read_bytes()).hexdigest())
        return row


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
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.scoring.meteor import ABSENT, find_meteor, meteor_at_hand
    from medclip_cli.scoring.per_caption import DocumentFrequencies

    if any(not text.strip() for text in texts):
        raise UsageError("--reference is empty: give the true caption")
    opened = Corpus.open(corpus) if corpus else None
    if opened:
        known = DocumentFrequencies.of(row.captions for row in opened.split("train") or opened.records)
    else:
        known = DocumentFrequencies.of([str(point.payload["caption"])] for point in index.points())
    program = find_meteor()
    if program is None:
        console.note(ABSENT)
    with meteor_at_hand(program, time_limit_seconds=_DAY_IN_SECONDS) if program else nullcontext() as meteor:
        yield References(texts, Rows(opened) if opened else None, known, meteor)
