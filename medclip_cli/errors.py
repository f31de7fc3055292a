"""The errors a person sees (the tree stands in `encoders.errors`), and how a command ends besides."""

from encoders.errors import CollectionError as CollectionError
from encoders.errors import CorpusError as CorpusError
from encoders.errors import MedclipError as MedclipError
from encoders.errors import ModelError as ModelError
from encoders.errors import ScanError as ScanError
from encoders.errors import ScoringError as ScoringError
from encoders.errors import SettingsError as SettingsError
from encoders.errors import UsageError as UsageError

SOME_FAILED = 3  # exit code: done, but for what could not be read
INTERRUPTED = 130  # exit code: what a shell expects of a program ended by Ctrl-C, 128 + SIGINT
