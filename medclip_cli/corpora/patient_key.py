"""The secret of this installation, under which patients' numbers are hashed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from medclip_cli.errors import CorpusError

KEY_FILE = "patient-hash.key"
KEY_BYTES = 32


def patient_key(home: Path) -> bytes:
    """Return the key, made once and readable by its owner alone.

    A second corpus of the same hospital gets the same hashes, so that a patient stays one group; a lost key
    makes new ones.

    Raises:
        CorpusError: the key cannot be read or written, or was cut short.
    """
    path = home / KEY_FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            # Made whole under another name: two processes at once must end up with one key.
            fresh = home / f".{KEY_FILE}.{secrets.token_hex(4)}"
            if not path.exists():
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink(missing_ok=True)
        key = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"the key {path} cannot be used ({error.strerror}): set MEDCLIP_HOME") from error
    if len(key) != KEY_BYTES:
        raise CorpusError(f"the key {path} is damaged: restore it, or remove it to make new patient hashes")
    return key
