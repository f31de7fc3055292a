"""The errors a person sees: one line saying what, which value, and what to do next.

MedclipError (exit 1)
├── UsageError (exit 2)      the command line itself is wrong
├── SettingsError            a settings file or variable that cannot be used
├── CorpusError              a data set or corpus folder that cannot be read or written
├── ModelError               a model folder, or training, that failed
├── CollectionError          a collection that is missing, locked, damaged or made by another model
└── ScoringError             predictions or references that cannot be scored

Two ends are no error of the command: `SOME_FAILED` and `INTERRUPTED`.
"""

SOME_FAILED = 3  # exit code: done, but for what could not be read
INTERRUPTED = 130  # exit code: what a shell expects of a program ended by Ctrl-C, 128 + SIGINT


class MedclipError(Exception):
    """Base of every error the command line reports as one line on stderr."""

    exit_code = 1


class UsageError(MedclipError):
    """The command line itself is wrong."""

    exit_code = 2


class SettingsError(MedclipError):
    """A settings file or variable cannot be used."""


class CorpusError(MedclipError):
    """A data set or a corpus folder cannot be read or written."""


class ModelError(MedclipError):
    """A model folder cannot be used, or training failed."""


class CollectionError(MedclipError):
    """A collection is missing, locked, damaged, or was made by another model."""


class ScoringError(MedclipError):
    """Predictions or references cannot be scored."""
