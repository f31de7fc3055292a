"""The true captions of images, to score answers against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError
from medclip_cli.progress import log

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Source
    from medclip_cli.records import CaptionedImage
    from medclip_cli.scoring.meteor import MeteorScores
    from medclip_cli.scoring.ngrams import Tokens
    from medclip_cli.scoring.per_caption import DocumentFrequencies
    from medclip_cli.vector_index.base import VectorIndex

    Meteor = Callable[[Sequence[Tokens], Sequence[Sequence[Tokens]]], MeteorScores]

_DAY_IN_SECONDS = 24 * 3600.0  # METEOR scores one image after another for as long as captions come


class References:
    """Knows the true captions of images: those that were given, or those of their rows in a corpus."""

    def __init__(
        self, texts: Sequence[str], corpus: Corpus | None, known: DocumentFrequencies, meteor: Meteor | None
    ) -> None:
        """Read the rows of the corpus, images unopened; use `open_references`."""
        self._texts, self._corpus, self._known, self._meteor = tuple(texts), corpus, known, meteor
        self._found: dict[Path, CaptionedImage | None] = {}
        self._by_path: dict[Path, CaptionedImage] = {}
        self._by_bytes: dict[str, CaptionedImage] = {}  # images are copied and moved
        if corpus is not None:
            root = corpus.image_root.resolve()
            self._by_path = {root / row.image: row for row in corpus.records}
            self._by_bytes = {row.sha256: row for row in reversed(corpus.records) if row.sha256}

    def own_group(self, source: Source) -> frozenset[str]:
        """The patient, case or article of an image, which must not answer for it; empty where not known."""
        row = self._row(source)
        return frozenset({row.group}) if row and row.group else frozenset()

    def scores(self, source: Source, caption: str | None) -> dict[str, float] | None:
        """Score an answer by name; no caption scores 0, and an image without references gets None."""
        from medclip_cli.scoring.captions import tokenize_captions
        from medclip_cli.scoring.per_caption import score_caption

        row = self._row(source)
        references = self._texts + (row.captions if row else ())
        if not references:
            return None
        scores = score_caption(caption or "", references, self._known)
        if self._meteor is not None:
            candidate, *true = tokenize_captions([caption or "", *references])
            cider = scores.pop("cider")  # which stays the last one
            scores |= {"meteor": self._meteor([candidate], [true]).corpus, "cider": cider}
        return scores

    def _row(self, source: Source) -> CaptionedImage | None:
        """The row of an image: by its path, else by its bytes; one without a row is noted once."""
        if not isinstance(source, Path) or self._corpus is None:
            return None
        if source not in self._found:
            row = self._by_path.get(source.resolve())
            if row is None and self._by_bytes:
                with suppress(OSError):  # the error is reported when the image is embedded
                    row = self._by_bytes.get(sha256(source.read_bytes()).hexdigest())
            if row is None:
                log.info(
                    "%s is not an image of %s: its true caption is not known.", source, self._corpus.path
                )
            self._found[source] = row
        return self._found[source]


@contextmanager
def open_references(
    texts: Sequence[str], corpus: str | Path | Corpus | None, index: VectorIndex
) -> Iterator[References]:
    """Prepare the true captions.

    CIDEr weighs words by how few captions have them: those of the corpus's training split, or those of the
    collection where no corpus is named.

    Args:
        texts: true captions of every image.
        corpus: a corpus, or its folder, that images may be rows of.
        index: the collection that answers.

    Raises:
        CorpusError: there is no corpus there.
        UsageError: a reference is empty.
    """
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.scoring.meteor import ABSENT, find_meteor, running_meteor
    from medclip_cli.scoring.per_caption import DocumentFrequencies

    if any(not text.strip() for text in texts):
        raise UsageError("a reference is empty: give the true caption")
    opened = Corpus.open(corpus) if isinstance(corpus, (str, Path)) else corpus
    if opened:
        known = DocumentFrequencies.of(row.captions for row in opened.split("train") or opened.records)
    else:
        known = DocumentFrequencies.of([str(point.payload["caption"])] for point in index.points())
    program = find_meteor()
    if program is None:
        log.info(ABSENT)
    with running_meteor(program, time_limit_seconds=_DAY_IN_SECONDS) if program else nullcontext() as meteor:
        yield References(texts, opened, known, meteor)
