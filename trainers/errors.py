"""Everything that can go wrong between a corpus and its weights.

TrainingError
├── OptionsError      options that contradict each other or are out of range
├── DataError         no usable training or validation pairs
├── DivergedError     the loss is no longer a number
├── DeviceMemoryError the GPU's memory is too small for a batch
└── CheckpointError   there is nothing to resume, or it belongs to another run
"""


class TrainingError(Exception):
    """Base of every error this package raises on purpose."""


class OptionsError(TrainingError, ValueError):
    """Options are out of range or contradict each other."""


class DataError(TrainingError):
    """There are no usable training or validation pairs."""


class DivergedError(TrainingError):
    """The loss is no longer a number."""


class DeviceMemoryError(TrainingError):
    """The GPU's memory is too small for a batch."""


class CheckpointError(TrainingError):
    """There is no checkpoint to resume, or it belongs to another run."""
