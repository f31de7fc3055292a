"""Every error that medclip raises on purpose: one tree, from a file on disk to the command line.

MedclipError (exit 1)
├── UsageError (exit 2)       a value of an option or argument is wrong
│   ├── OptionsError          options of training or generation, out of range or against each other
│   └── PresetError           a preset or backbone nobody knows, or shapes that do not fit together
├── SettingsError             a settings file or variable that cannot be used
├── ScanError                 an image file that cannot be read
├── CorpusError               a data set or corpus folder that cannot be read or written
├── ModelError                a model that cannot be opened, exported or trained
│   ├── WeightsError          pretrained weights that are not there, or do not fit
│   ├── BundleError           a model folder that is missing, incomplete or altered
│   ├── ExportError           an ONNX graph that disagrees with torch
│   └── TrainingError         training that failed
│       ├── DataError         no usable training or validation pairs
│       ├── DivergedError     the loss is no longer a number
│       ├── DeviceMemoryError the GPU's memory is too small for a batch
│       └── CheckpointError   there is nothing to resume, or it belongs to another run
├── CollectionError           a collection that is missing, locked, damaged or made by another model
└── ScoringError              predictions or references that cannot be scored

The message is one line: what is wrong, with which value, and what to do next.
"""


class MedclipError(Exception):
    """Base of every error that medclip raises on purpose; the command line shows it as one line."""

    exit_code = 1


class UsageError(MedclipError):
    """A value of an option or argument is wrong."""

    exit_code = 2


class OptionsError(UsageError, ValueError):
    """Options are out of range or contradict each other."""


class PresetError(UsageError):
    """A preset or backbone is unknown, or its shapes do not fit together."""


class SettingsError(MedclipError):
    """A settings file or variable cannot be used."""


class ScanError(MedclipError):
    """An image file cannot be read.

    Attributes:
        code: the reason code of a rejected corpus row.
    """

    def __init__(self, reason: str, code: str = "unreadable_image") -> None:
        super().__init__(reason)
        self.code = code


class CorpusError(MedclipError):
    """A data set or a corpus folder cannot be read or written."""


class ModelError(MedclipError):
    """A model cannot be opened, exported or trained."""


class WeightsError(ModelError):
    """Pretrained weights are not there, or do not fit the tower."""


class BundleError(ModelError):
    """A model folder is missing, incomplete or altered."""


class ExportError(ModelError):
    """An exported ONNX graph disagrees with the torch model it came from."""


class TrainingError(ModelError):
    """Training failed."""


class DataError(TrainingError):
    """There are no usable training or validation pairs."""


class DivergedError(TrainingError):
    """The loss is no longer a number."""


class DeviceMemoryError(TrainingError):
    """The GPU's memory is too small for a batch."""


class CheckpointError(TrainingError):
    """There is no checkpoint to resume, or it belongs to another run."""


class CollectionError(MedclipError):
    """A collection is missing, locked, damaged, or was made by another model."""


class ScoringError(MedclipError):
    """Predictions or references cannot be scored."""


def first_line(error: BaseException) -> str:
    """The first line of what another library's exception says, or its type when it says nothing."""
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
