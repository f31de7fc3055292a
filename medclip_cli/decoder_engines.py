"""The door from the command line to caption decoders: asking one for captions, and training one.

As in `engines`, both packages behind it are imported inside functions. Asking runs on ONNX Runtime and never
imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.engines import (
    Embedded,
    decoded_ahead,
    model_errors,
    training_errors,
    training_pair,
)
from medclip_cli.errors import UsageError
from medclip_cli.records import CaptionedImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from encoders.caption_runtime import OnnxCaptioner
    from encoders.caption_runtime import Written as Written
    from encoders.generation import GenerationOptions as GenerationOptions
    from encoders.preprocessing import ImagePreprocessing
    from medclip_cli.engines import Source, Vectors
    from trainers.caption_listeners import CaptionListener


@dataclass(frozen=True, slots=True)
class Looked:
    """What a decoder saw of one image.

    Attributes:
        embedded: its vector, or the reason there is none.
        grid: float32 ``[cells, channels]``, or None.
    """

    embedded: Embedded
    grid: Vectors | None


class Captioner:
    """A model folder with a decoder, opened for writing captions."""

    def __init__(self, captioner: OnnxCaptioner, spec: ImagePreprocessing) -> None:
        """Wrap an opened decoder; use `open_captioner`."""
        self._captioner, self._spec = captioner, spec
        self.retrieve: int = captioner.retrieve
        self.max_tokens: int = captioner.config.max_tokens - 1

    def look_at_files(self, sources: Iterable[Source], batch_size: int = 8) -> Iterator[Looked]:
        """See image files in order, decoding ahead of the forward pass in threads.

        A file that cannot be read comes with its reason and no grid; the others go on.
        """
        import numpy as np

        from encoders.errors import ScanError
        from encoders.preprocessing import load_square, square_to_pixels

        def decode(source: Source) -> tuple[Source, NDArray[np.uint8] | str]:
            try:
                return source, load_square(source, self._spec)
            except ScanError as error:
                return source, str(error)

        index = 0
        for batch in decoded_ahead(decode, sources, batch_size):
            pixels = [square_to_pixels(item, self._spec) for _, item in batch if not isinstance(item, str)]
            with model_errors():
                seen = iter(zip(*self._captioner.look(np.stack(pixels)), strict=True) if pixels else ())
            for source, item in batch:
                if isinstance(item, str):
                    yield Looked(Embedded(index, source, None, item), None)
                else:
                    vector, grid = next(seen)
                    yield Looked(Embedded(index, source, vector, square=item), grid)
                index += 1

    def write(
        self, grids: Vectors, retrieved: Sequence[Sequence[str]] | None, options: GenerationOptions
    ) -> list[list[Written]]:
        """Write captions of images that were looked at.

        Args:
            grids: ``[b, cells, channels]``.
            retrieved: captions of each image's neighbours, nearest first.
            options: of `writing_options`.

        Returns:
            For each image its captions, best first.
        """
        with model_errors():
            return self._captioner.write(grids, retrieved if self.retrieve else None, options)


def open_captioner(path: Path) -> Captioner:
    """Open the decoder of a model folder, without torch.

    Raises:
        ModelError: the folder is damaged, or has no decoder.
    """
    from encoders.bundle import ModelBundle
    from encoders.caption_runtime import OnnxCaptioner

    with model_errors():
        bundle = ModelBundle.open(path)
        return Captioner(OnnxCaptioner(bundle), bundle.config.image)


def has_decoder(path: Path) -> bool:
    """Whether a model folder can write captions.

    Raises:
        ModelError: the folder is damaged.
    """
    from encoders.bundle import ModelBundle
    from encoders.decoder_files import DECODER_FILE

    with model_errors():
        return DECODER_FILE in ModelBundle.open(path).config.files


def writing_options(**given: Any) -> GenerationOptions:  # noqa: ANN401 - any option
    """Return how captions are searched for; what is None keeps its default.

    Raises:
        UsageError: an option is out of range.
    """
    from encoders.errors import GenerationError
    from encoders.generation import GenerationOptions

    try:
        return GenerationOptions(**{name: value for name, value in given.items() if value is not None})
    except GenerationError as error:
        raise UsageError(str(error)) from error


@dataclass(frozen=True, slots=True)
class DecoderRequest:
    """What a decoder's training is asked for.

    Attributes:
        recipe: fields of the trainers' options to override; None anywhere keeps the default.
        score: captions and references to scores by name, ``cider`` among them.
        outdated: files of the model folder that speak of the decoder before.
    """

    recipe: Mapping[str, Any]
    score: Callable[[Sequence[str], Sequence[Sequence[str]]], Mapping[str, float]]
    outdated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainedDecoder:
    """A decoder that training has just put into its model folder.

    Attributes:
        best_epoch: the epoch it was taken from; 0 when none was finished, and the model stayed as it was.
        epochs: finished epochs.
        interrupted: whether training was stopped before its end.
        skipped: images that could not be read.
        seconds: training took.
        scores: of its greedy captions on the validation images.
    """

    best_epoch: int
    epochs: int
    interrupted: bool
    skipped: int
    seconds: float
    scores: dict[str, float]


def train_decoder(
    train: Sequence[CaptionedImage],
    validation: Sequence[CaptionedImage],
    image_path: Callable[[CaptionedImage], Path],
    model: Path,
    request: DecoderRequest,
    listener: CaptionListener,
    *,
    provenance: Mapping[str, Any],
) -> TrainedDecoder:
    """Train a caption decoder and put it into the model folder.

    Args:
        train: records to learn from.
        validation: records to judge by.
        image_path: where the image of a record lies.
        model: the folder of the encoders.
        request: recipe, judge, and what a new decoder makes untrue.
        listener: hears of the run.
        provenance: what `decoder.json` says of the corpus.

    Raises:
        UsageError: an option is out of range.
        ModelError: training failed, or the folder cannot be read or written.
    """
    with model_errors(), training_errors():
        from encoders.additions import add_files
        from encoders.bundle import ModelBundle
        from trainers.captioning import forget_run
        from trainers.captioning import train_decoder as fit
        from trainers.captioning_options import CaptioningOptions

        given = {name: value for name, value in request.recipe.items() if value is not None}
        options, bundle = CaptioningOptions(**given), ModelBundle.open(model)
        pairs, judged = (
            [training_pair(record, image_path(record)) for record in part] for part in (train, validation)
        )
        result = fit(pairs, judged, bundle, options, request.score, listener, provenance=provenance)
        if result.files:
            add_files(bundle, result.files, remove=request.outdated)
            if not result.interrupted:
                forget_run(bundle)
    return TrainedDecoder(
        result.best_epoch,
        result.epochs,
        result.interrupted,
        result.skipped,
        round(result.seconds, 1),
        result.scores,
    )
