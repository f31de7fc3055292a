"""Everything that can go wrong between a file on disk and a vector.

EncoderError
├── ScanError        an image file that cannot be read as a picture
├── PresetError      a preset or a backbone nobody knows, or shapes that do not fit together
├── WeightsError     pretrained weights that are not there, or do not fit
├── BundleError      a model folder that is missing, incomplete or altered
├── ExportError      an ONNX graph that does not say what torch says
└── GenerationError  captions that cannot be written as asked
"""


class EncoderError(Exception):
    """Base of every error this package raises on purpose."""


class ScanError(EncoderError):
    """An image file cannot be read as a picture."""

    def __init__(self, reason: str, code: str = "unreadable_image") -> None:
        """Keep the sentence for people and the code for counting.

        Args:
            reason: what is wrong, without the path (the caller knows it).
            code: the reason code of a rejected corpus row.
        """
        super().__init__(reason)
        self.code = code


class PresetError(EncoderError):
    """A preset or backbone is unknown, or its shapes do not fit together."""


class WeightsError(EncoderError):
    """Pretrained weights are not there, or do not fit the tower."""


class BundleError(EncoderError):
    """A model folder is missing, incomplete or altered."""


class ExportError(EncoderError):
    """An exported ONNX graph disagrees with the torch model it came from."""


class GenerationError(EncoderError):
    """Captions cannot be written as asked."""


def first_line(error: BaseException) -> str:
    """The first line of what another library's exception says, or its type when it says nothing."""
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
