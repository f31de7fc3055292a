"""An open collection: captions for images, and images for words or example images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from medclip_cli.captioning import session
from medclip_cli.captioning.predictor import Answer, Predictor, calibrated
from medclip_cli.errors import ScanError, UsageError
from medclip_cli.records import Neighbour
from medclip_cli.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from encoders.generation import GenerationOptions
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model, Source, Vectors
    from medclip_cli.pages import AnswerCard
    from medclip_cli.vector_index.base import CollectionInfo, Condition, Query, VectorIndex

    Image = str | Path | BinaryIO
    Where = Mapping[str, object] | Sequence[str | Condition] | str | None

_WRITING = {"num_captions": "captions", "allow_repeats": "no_repeat"}  # as the decoder calls them
_WRITING |= {name: name for name in ("beam", "length_penalty", "temperature", "top_p", "seed", "max_tokens")}


class Answers(list[Answer]):
    """The answers for several images, in their order."""

    def to_pandas(self) -> pd.DataFrame:
        """A row for each image: what the caption is, how sure, or why there is none; and its scores."""
        import pandas as pd

        names = ("image", "caption", "method", "score", "confidence", "reason", "error")
        rows = [{name: getattr(one, name) for name in names} | (one.reference_scores or {}) for one in self]
        return pd.DataFrame(rows, columns=None if rows else list(names))

    def _repr_html_(self) -> str:
        from medclip_cli import pages
        from medclip_cli.captioning.cards import answer_card

        return pages.answers([answer_card(one) for one in self])


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Neighbour]):
    """What a search found, best first.

    Attributes:
        words: that were searched for.
        found: the images.
        images: example images that were searched for.
        not_like: example images to be unlike.
    """

    words: str
    found: tuple[Neighbour, ...]
    images: tuple[Source, ...] = ()
    not_like: tuple[Source, ...] = ()

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - one of them, or a slice
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def to_dict(self) -> dict[str, Any]:
        """As `medclip search - --json` prints it."""
        return {"query": self.words, "found": [one.to_dict() for one in self.found]}

    def card(self) -> AnswerCard:
        """As a page shows it."""
        from medclip_cli.captioning.cards import hit_cards
        from medclip_cli.pages import AnswerCard

        examples = [one for one in (*self.images, *self.not_like) if isinstance(one, Path)]
        question = ", ".join([self.words] * bool(self.words) + [str(one) for one in examples])
        return AnswerCard(question, examples, neighbours=hit_cards(self.found))

    def to_pandas(self) -> pd.DataFrame:
        """A row for each image that was found, its fields as columns."""
        import pandas as pd

        names = ("rank", "score", "id", "caption", "image", "path", "corpus", "group")
        rows = [{name: getattr(one, name) for name in names} | one.fields for one in self.found]
        return pd.DataFrame(rows, columns=None if rows else list(names))

    def _repr_html_(self) -> str:
        from medclip_cli import pages

        return pages.answers([self.card()])


class Collection:
    """An open collection. Close it, or open it in a `with` block."""

    def __init__(self, index: VectorIndex, model_path: Path | None = None) -> None:
        """Wrap an opened index; see `open_collection`."""
        self.index, self._model_path = index, model_path
        self._example_vectors: dict[tuple[Path, int, int], Vectors] = {}

    @property
    def info(self) -> CollectionInfo:
        """What is known of it: how many images, of which corpora, by which model."""
        return self.index.info

    @cached_property
    def model(self) -> Model:
        """The model that made it, opened when it is first needed.

        Raises:
            CollectionError: the model is another one, or no longer there.
            ModelError: its folder is damaged.
        """
        return session.open_matching_model(self.info, self._model_path)

    def caption(self, images: Image | Iterable[Image], **options: Any) -> Answers:  # noqa: ANN401
        """Caption images; options as `iter_caption`, which answers one by one."""
        return Answers(self.iter_caption(images, **options))

    def iter_caption(
        self,
        images: Image | Iterable[Image],
        *,
        method: str = "auto",
        k: int = 5,
        where: Where = None,
        min_score: float | None = None,
        min_confidence: float | None = None,
        references: Sequence[str] = (),
        corpus: str | Path | Corpus | None = None,
        **writing: float | bool | None,
    ) -> Iterator[Answer]:
        """Caption images, each as soon as it is ready; one that cannot be read has an `Answer.error`.

        Args:
            images: paths, or open files.
            method: ``nearest`` takes the caption of the nearest known image; ``consensus`` of the 20 nearest
                captions the one closest to all; ``generate`` lets the model's decoder write; ``auto`` takes
                what won on the model's validation images.
            k: how many neighbours an answer shows.
            where: conditions on the neighbours: ``{"modality": ["CT", "MR"], "age": ">=60"}``, or expressions
                as ``["age>=60"]``.
            min_score: neighbours with a lower cosine similarity are left out.
            min_confidence: an answer that is less sure than this has no caption.
            references: true captions, to score each answer with.
            corpus: a corpus that the images may be rows of: they are scored with their own captions, and
                their own patients and cases do not answer.
            **writing: of a decoder: `beam`, `length_penalty`, `temperature`, `top_p`, `seed`, `max_tokens`,
                `num_captions`, `allow_repeats`.

        Raises:
            UsageError: an option has no such value, or belongs to another method.
            CollectionError: the model is another one than made the collection.
            ModelError: the model is damaged, or has no decoder to generate with.
        """
        if k < 1:
            raise UsageError(f"k must be 1 or more, not {k}")
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise UsageError(f"min_confidence must be between 0 and 1, not {min_confidence:g}")
        method, calibration = calibrated(self.model, method, min_confidence)
        predictor = Predictor(
            index=self.index,
            model=self.model,
            method=method,
            calibration=calibration,
            min_confidence=min_confidence or 0.0,
            top=k,
            where=conditions(where),
            min_score=min_score,
            writing=_writing_options(method, writing),
        )
        return self._answers(predictor, _sources(images), references, corpus)

    def _answers(
        self,
        predictor: Predictor,
        sources: Iterable[Source],
        references: Sequence[str],
        corpus: str | Path | Corpus | None,
    ) -> Iterator[Answer]:
        if not references and corpus is None:
            yield from predictor.predict(sources)
            return
        from medclip_cli.evaluation.references import open_references

        with open_references(references, corpus, self.index) as truth:
            for answer in replace(predictor, own_groups=truth.own_group).predict(sources):
                if answer.error is None and answer.source is not None:
                    answer = replace(answer, reference_scores=truth.scores(answer.source, answer.caption))
                yield answer

    def search(  # noqa: PLR0913 - the options of the command
        self,
        words: str | None = None,
        *,
        images: Image | Iterable[Image] = (),
        not_like: Image | Iterable[Image] = (),
        where: Where = None,
        mode: Literal["hybrid", "dense", "words"] = "hybrid",
        k: int = 10,
        min_score: float | None = None,
        combine: Literal["mean", "rrf"] = "mean",
        fusion: Literal["rrf", "dbsf"] = "rrf",
        diversity: float | None = None,
        exact: bool = False,
        exclude_groups: Iterable[str] = (),
    ) -> Hits:
        """Find known images by words, by example images, or by both.

        Args:
            words: what to search for.
            images: example images, to find similar ones.
            not_like: example images, to find dissimilar ones.
            where: conditions, as `caption`.
            mode: ``dense`` compares vectors, ``words`` the words of captions (BM25), ``hybrid`` fuses both.
            k: how many to find.
            min_score: hits with a lower score are left out.
            combine: several example images: search near their ``mean``, or fuse a ranking of each (``rrf``).
            fusion: by reciprocal rank (``rrf``) or by normalised score (``dbsf``).
            diversity: 0 ranks by similarity alone, up to 1 by difference from the hits before.
            exact: compare with every vector; slower.
            exclude_groups: patients or cases to leave out.

        Raises:
            UsageError: nothing to search for, or an option has no such value.
            ScanError: an example image cannot be read.
            CollectionError: the model is another one than made the collection.
        """
        from medclip_cli.vector_index.base import Query

        words, like, unlike = (words or "").strip(), list(_sources(images)), list(_sources(not_like))
        if not (words or like or unlike):
            raise UsageError("nothing to search for: give words or example images")
        query = Query(
            words=words or None,
            mode=mode,
            top=k,
            where=conditions(where),
            min_score=min_score,
            exclude_groups=frozenset([exclude_groups] if isinstance(exclude_groups, str) else exclude_groups),
            exact=exact,
            fusion=fusion,
            diversity=diversity,
        )
        if like or unlike:
            query = self._with_examples(query, like, unlike, combine)
        if words and mode != "words":  # by the captions' words alone no model is needed
            query = replace(query, text_vector=self.model.embed_texts([words])[0])
        found = session.with_paths(self.index.query([query])[0], self.info)
        return Hits(words, tuple(found), tuple(like), tuple(unlike))

    def _with_examples(
        self, query: Query, like: Sequence[Source], unlike: Sequence[Source], combine: str
    ) -> Query:
        from medclip_cli.vector_index.queries import combine as combined

        vectors = self._embed([*like, *unlike])
        wanted, unwanted = vectors[: len(like)], vectors[len(like) :]
        if combine == "rrf" and not unwanted:
            return replace(query, image_vector=wanted[0], examples=tuple(wanted[1:]))
        return replace(query, image_vector=combined(wanted, unwanted))

    def _embed(self, images: Sequence[Source]) -> list[Vectors]:
        """The vectors of example images; many texts may be searched for with the same ones."""
        vectors = []
        for image in images:
            key = None
            if isinstance(image, Path) and image.is_file():
                status = image.stat()
                key = (image, status.st_mtime_ns, status.st_size)
            if key is None or key not in self._example_vectors:
                (one,) = self.model.embed_files([image])
                if one.vector is None:
                    raise ScanError(f"{image if isinstance(image, Path) else '-'}: {one.error}")
                vectors.append(one.vector)
                if key is not None:
                    self._example_vectors[key] = one.vector
            else:
                vectors.append(self._example_vectors[key])
        return vectors

    def close(self) -> None:
        """Let go of the collection."""
        self.index.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        return f"<Collection {info.name}: {info.points:,} images, model {info.model_name}>"


def open_collection(
    name: str | None = None,
    *,
    url: str | None = None,
    model: str | Path | None = None,
    home: str | Path | None = None,
    offline: bool | None = None,
    lock_timeout: float | None = None,
) -> Collection:
    """Open a collection; what is None is taken from the settings, as `medclip` does.

    Args:
        name: of the collection; where nothing names one, the only one there is.
        url: of the Qdrant server that has it.
        model: the model folder; the one the collection was made with.
        home: the folder of medclip's collections.
        offline: never reach the network.
        lock_timeout: seconds to wait for a collection that is busy.

    Raises:
        CollectionError: there is none of this name, it is damaged or busy, or the server cannot be reached.
        SettingsError: a settings file or variable that cannot be used.
        UsageError: a server was named, and the network must not be reached.
    """
    settings = load_settings(
        {
            "collection": name,
            "qdrant_url": url,
            "model": None if model is None else Path(model),
            "home": None if home is None else Path(home),
            "offline": offline,
            "lock_timeout_seconds": lock_timeout,
        }
    )
    return Collection(session.open_collection(settings), settings.model)


def conditions(where: Where) -> tuple[Condition, ...]:
    """Read conditions, given by field or as expressions.

    Raises:
        UsageError: a field that cannot be filtered by, or a value it cannot have.
    """
    from medclip_cli.vector_index.base import Condition, parse_condition

    if isinstance(where, str):
        where = [where]
    if isinstance(where, Mapping):
        where = [_expression(name, value) for name, value in where.items()]
    return tuple(one if isinstance(one, Condition) else parse_condition(one) for one in where or ())


def _expression(name: str, value: object) -> str:
    if isinstance(value, str) and value.lstrip().startswith(("=", "!=", ">", "<")):
        return f"{name}{value}"
    if isinstance(value, (list, tuple, set, frozenset)):
        value = ",".join(map(str, value))
    return f"{name}={value}"


def _sources(images: Image | Iterable[Image]) -> Iterator[Source]:
    several = [images] if isinstance(images, (str, Path)) or hasattr(images, "read") else images
    return (Path(one) if isinstance(one, str) else one for one in cast("Iterable[Image]", several))


def _writing_options(method: str, given: Mapping[str, float | bool | None]) -> GenerationOptions | None:
    """Return how captions are searched for.

    Raises:
        UsageError: an option is out of range, or belongs to another method.
    """
    if unknown := given.keys() - _WRITING.keys():
        raise TypeError(f"caption() got an unexpected keyword argument {min(unknown)!r}")
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if method != "generate":
        if given:
            raise UsageError(f"{next(iter(given))} is an option of a decoder: it needs method generate")
        return None
    from encoders.generation import GenerationOptions

    options = {_WRITING[name]: value for name, value in given.items()}
    if "no_repeat" in options:
        options["no_repeat"] = 0
    captions = int(options.get("captions") or 1)
    if "beam" not in options and captions > GenerationOptions().beam:
        options["beam"] = captions
    return GenerationOptions(**options)  # type: ignore[arg-type]  # names of the table above
