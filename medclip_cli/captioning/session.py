"""What `caption`, `search` and `evaluate` share: which collection, which model, how an answer looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.errors import CollectionError
from medclip_cli.records import Neighbour
from medclip_cli.terminal import console

if TYPE_CHECKING:
    from medclip_cli.models import Model
    from medclip_cli.settings import Settings
    from medclip_cli.vector_index.base import CollectionInfo, VectorIndex

DISCLAIMER = "medclip is a research tool, not a medical device."


@contextmanager
def open_collection(settings: Settings) -> Iterator[VectorIndex]:
    """Open the collection of the settings; where none of them names one, the only one there is."""
    from medclip_cli.vector_index import store

    location, name = store.StoreLocation.of(settings), settings.collection
    if settings.origins["collection"] == "default":
        existing = store.list_collections(location)
        if len(existing) == 1:
            name = existing[0].name
    with store.open_collection(location, name) as collection:
        info = collection.info
        console.detail(f"collection {info.name}: {info.points} images in {location.shown}")
        yield collection


def open_matching_model(info: CollectionInfo, model_path: Path | None) -> Model:
    """Open the model that made the collection, or the one named, if it is the same.

    Raises:
        CollectionError: the model named, or the one that lies where the collection's own lay, is another one
            (its vectors would be compared with noise), or none lies there any more.
        ModelError: the model folder is damaged, or the one named is not there.
    """
    from medclip_cli.models import open_model

    model = open_model(model_path or _own_model(info))
    if model_path is None and model.fingerprint != info.fingerprint:
        raise CollectionError(
            f"collection {info.name!r} was made with model {info.model_name!r} ({info.fingerprint}), and at "
            f"{info.model_path} lies another one now ({model.fingerprint}): name a copy of the old one with "
            "--model, or index with --rebuild"
        )
    info.check_model(model.fingerprint, model.name)
    console.detail(f"model {model.name} ({model.fingerprint}) at {model.path}")
    return model


def _own_model(info: CollectionInfo) -> Path:
    path = Path(info.model_path)
    if not path.exists():
        raise CollectionError(
            f"collection {info.name!r} was made with model {info.model_name!r} ({info.fingerprint}), "
            f"which is no longer at {path}: say where it is with --model"
        )
    return path


def check_own_model(home: Path, name: str) -> None:
    """Refuse to send a collection along with what lies where its model lay, if that is another one now.

    Raises:
        CollectionError: it is.
    """
    from medclip_cli.vector_index.store import StoreLocation, describe

    info = describe(StoreLocation(home), name)
    if Path(info.model_path).exists():  # else whoever sends it says what to do
        open_matching_model(info, None)


def neighbour_record(neighbour: Neighbour, info: CollectionInfo) -> dict[str, Any]:
    """Return a neighbour as it appears in JSON; ``path`` is where its image lies on this machine."""
    source = info.corpora.get(neighbour.corpus)
    return {
        "rank": neighbour.rank,
        "score": neighbour.score,
        "id": neighbour.id,
        "caption": neighbour.caption,
        "image": neighbour.image,
        "path": str(Path(source.image_root) / neighbour.image) if source else None,
        "corpus": neighbour.corpus,
        "fields": neighbour.fields,
    }
