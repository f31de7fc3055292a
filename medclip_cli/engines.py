"""The only door from the command line to `encoders` and `trainers`.

Both packages are imported inside functions, so that a command pays only for what it uses, and their errors
leave here as `MedclipError`, so that a person sees one line. Asking runs on ONNX Runtime and never imports
torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from medclip_cli.errors import MedclipError, ModelError, UsageError
from medclip_cli.in_order import in_order, usable_cores

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from encoders.bundle import ModelBundle
    from encoders.runtime import OnnxEncoder
    from encoders.torch_runtime import TorchEncoder
    from medclip_cli.records import CaptionedImage
    from trainers.batches import TrainingPair

    Vectors = NDArray[np.float32]
    Source = Path | BinaryIO
    SquareOrReason = tuple[Source, NDArray[np.uint8] | str]

Decoded = TypeVar("Decoded")
HUB_PREFIX = "hf:"
_DECODING_THREADS = 16
_CHUNKS_IN_BATCH = 16  # files are handed to the threads that decode them in so many parts of a batch


class UnreadableScanError(MedclipError):
    """An image file cannot be read; `code` is the reason code that a corpus counts."""

    def __init__(self, reason: str, code: str) -> None:
        """Keep the reason for people and its code for counting."""
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of one image: a unit-length vector, or the reason there is none.

    Attributes:
        index: its place among the sources.
        source: the file itself.
        vector: float32 ``[dim]``, or None.
        error: why there is no vector.
        square: what the image tower saw of it, uint8 ``[side, side, 3]``.
    """

    index: int
    source: Source
    vector: Vectors | None
    error: str | None = None
    square: NDArray[np.uint8] | None = None


def read_scan(source: Source, *, least_side: int | None = None) -> Image:
    """Decode one image file into an 8-bit picture of mode ``L`` or ``RGB``.

    Args:
        source: a path or an open file.
        least_side: a JPEG may be decoded as small as twice this; None decodes every pixel.

    Raises:
        UnreadableScanError: with the reason and its code.
    """
    from encoders.errors import ScanError
    from encoders.scans import read_scan as read

    try:
        return read(source, least_side=least_side)
    except ScanError as error:
        raise UnreadableScanError(str(error), error.code) from error


class Model:
    """A trained model opened for asking: files and words in, unit-length vectors out."""

    def __init__(self, bundle: ModelBundle, encoder: OnnxEncoder | TorchEncoder) -> None:
        """Wrap an opened model folder; use `open_model`."""
        self._encoder, self._bundle = encoder, bundle
        self.path: Path = bundle.path
        self.name: str = bundle.path.name
        self.fingerprint: str = bundle.fingerprint
        self.dim: int = bundle.config.embedding_dim
        self.batch_size: int = encoder.usual_batch
        self.passes_at_once: int = encoder.passes_at_once
        self.trained_on = bundle.config.trained_on

    def read_addition(self, name: str) -> str | None:
        """Return the text of a file that was added to the model folder, or None where there is none."""
        if name not in self._bundle.config.files:
            return None
        with model_errors():
            return self._bundle.read_verified(name).decode("utf-8")

    def add_files(self, files: Mapping[str, bytes], *, remove: Iterable[str] = ()) -> None:
        """Put files into the model folder; its fingerprint, and collections made with it, stay valid."""
        from encoders.additions import add_files

        with model_errors():
            self._bundle = add_files(self._bundle, files, remove=remove)

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed captions or questions as unit-length rows ``[n, dim]``."""
        with model_errors():
            return self._encoder.embed_texts(texts)

    def embed_files(self, sources: Iterable[Source], batch_size: int | None = None) -> Iterator[Embedded]:
        """Embed image files in order, decoding ahead of the forward pass in threads.

        A file that cannot be read becomes an `Embedded` with its reason; the others go on. Memory stays flat:
        a few batches of squares exist at a time.

        Args:
            sources: the files.
            batch_size: images in one forward pass; None for what suits where the model runs.
        """
        import numpy as np

        from encoders.errors import ScanError
        from encoders.preprocessing import load_square

        def decode(source: Source) -> SquareOrReason:
            try:
                return source, load_square(source, self._encoder.image_spec)
            except ScanError as error:
                return source, str(error)

        def embed(
            batches: Sequence[list[SquareOrReason]],
        ) -> list[tuple[list[SquareOrReason], Iterator[Vectors]]]:
            (batch,) = batches
            squares = [item for _, item in batch if not isinstance(item, str)]
            with model_errors():
                return [(batch, iter(self._encoder.embed_squares(np.stack(squares)) if squares else ()))]

        index = 0
        batches = decoded_ahead(decode, sources, batch_size or self.batch_size)
        for batch, vectors in in_order(
            embed, batches, self.passes_at_once, chunk=1, ahead=self.passes_at_once
        ):
            for source, item in batch:
                if isinstance(item, str):
                    yield Embedded(index, source, None, item)
                else:
                    yield Embedded(index, source, next(vectors), square=item)
                index += 1


def open_model(path: Path, *, for_many: bool = False) -> Model:
    """Open a model folder: for a few questions without torch, for many images on a GPU where there is one.

    Args:
        path: the model folder.
        for_many: whether so much is to be embedded that a GPU makes up for the seconds torch takes to import.

    Raises:
        ModelError: the folder is missing, incomplete or altered.
    """
    from encoders.bundle import ModelBundle

    with model_errors():
        bundle = ModelBundle.open(path)
        if for_many and _has_gpu():
            from encoders.torch_runtime import TorchEncoder

            return Model(bundle, TorchEncoder.open(bundle))
        from encoders.runtime import OnnxEncoder

        return Model(bundle, OnnxEncoder.open(bundle))


def hub_model(name: str, home: Path, *, offline: bool = False) -> Path:
    """Return the model folder of a whole transformers CLIP or SigLIP model, converted the first time.

    Args:
        name: ``hf:`` and a hub name or a folder.
        home: medclip's home; the model folder is kept in ``models`` there.
        offline: never reach for the hub.

    Raises:
        ModelError: it is nowhere to be had, or neither CLIP nor SigLIP.
    """
    folder = home / "models" / re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix(HUB_PREFIX)).strip("-")
    if not folder.exists():
        from encoders.whole_models import convert_whole_model

        folder.parent.mkdir(parents=True, exist_ok=True)
        with model_errors():
            convert_whole_model(name, folder, offline=offline)
    return folder


def _has_gpu() -> bool:
    """Look for an NVIDIA driver first: a machine without one must not pay for importing torch."""
    from shutil import which

    if not Path("/proc/driver/nvidia/version").exists() and which("nvidia-smi") is None:
        return False
    import torch

    return torch.cuda.is_available()


def grey_thumbnails(paths: Sequence[Path], side: int) -> NDArray[np.uint8]:
    """Shrink images to grey squares, for comparing them without any model.

    Args:
        paths: image files; one that cannot be read becomes all zero.
        side: width and height of a thumbnail.

    Returns:
        uint8 ``[n, side, side]``.
    """
    import numpy as np

    def shrink(path: Path) -> NDArray[np.uint8]:
        try:
            return np.asarray(read_scan(path).convert("L").resize((side, side)), dtype=np.uint8)
        except UnreadableScanError:
            return np.zeros((side, side), dtype=np.uint8)

    with ThreadPoolExecutor(min(_DECODING_THREADS, usable_cores())) as pool:
        return np.stack(list(pool.map(shrink, paths)))


def is_first_process() -> bool:
    """Whether this process writes and reports; torchrun starts several, numbered by RANK."""
    return os.environ.get("RANK", "0") == "0"


def training_pair(record: CaptionedImage, image: Path) -> TrainingPair:
    """Return a record as the trainers know it."""
    from trainers.batches import TrainingPair

    fields = {name: getattr(record, name) for name in ("modality", "view", "region", "category")}
    labels = [f"{name}={value}" for name, value in fields.items() if value]
    return TrainingPair(
        id=record.id,
        image=image,
        text=record.caption,
        group=record.group,
        labels=(*labels, *(f"finding={finding}" for finding in record.findings)),
        other_texts=tuple(text for text in record.captions if text != record.caption),
    )


@contextmanager
def training_errors() -> Iterator[None]:
    """Turn what the trainers raise into errors a person sees."""
    from encoders.errors import PresetError
    from trainers.errors import OptionsError, TrainingError

    try:
        yield
    except (OptionsError, PresetError) as error:
        raise UsageError(str(error)) from error
    except TrainingError as error:
        raise ModelError(str(error)) from error


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn what the encoders raise into errors a person sees."""
    from encoders.errors import EncoderError

    try:
        yield
    except EncoderError as error:
        raise ModelError(str(error)) from error


def decoded_ahead(
    decode: Callable[[Source], Decoded], sources: Iterable[Source], batch_size: int
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded files in order, while threads decode the next two batches.

    No more than those three batches are asked for before the first is there: whoever writes names into a pipe
    may wait for its answers before writing more.
    """
    chunk = max(1, batch_size // _CHUNKS_IN_BATCH)

    def decode_some(some: Sequence[Source]) -> list[Decoded]:
        return [decode(source) for source in some]

    threads = min(_DECODING_THREADS, usable_cores())
    decoded = in_order(decode_some, sources, threads, chunk=chunk, ahead=2 * batch_size // chunk + 1)
    while batch := list(islice(decoded, batch_size)):
        yield batch
