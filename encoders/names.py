"""Names of files: what images are called, and a check of names before they become part of a path."""

from __future__ import annotations

import unicodedata

from encoders.errors import MedclipError

# What files are taken for images by when a folder is searched; `read_image` goes by their content.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".dcm", ".dicom"}
)
MAX_NAME_BYTES = 255  # what common file systems allow


def plain_name(name: object, what: str, error: type[MedclipError] = MedclipError) -> str:
    r"""Return `name` if it is a single plain file name, which cannot lead out of the folder it is joined to.

    Refused are names that are empty, longer than 255 bytes, begin with a dot, or hold ``/``, ``\`` or a
    control character.

    Args:
        name: as read from JSON or an archive; anything but a string is refused too.
        what: it is the name of, for the message: "model name", "file of the archive".
        error: the class to raise.

    Raises:
        MedclipError: or `error`: it is not a plain name.
    """
    if not isinstance(name, str):
        raise error(f"{what} {name!r:.100} is not a string")
    if not name:
        raise error(f"{what} is empty")
    if name.startswith("."):
        raise error(f"{what} {name!r:.100} begins with a dot")
    if set(name) & {"/", "\\"}:
        raise error(f"{what} {name!r:.100} is a path, not a plain name")
    if any(unicodedata.category(letter).startswith("C") for letter in name):
        raise error(f"{what} {name!r:.100} contains a control character")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise error(f"{what} {name!r:.100} is longer than {MAX_NAME_BYTES} bytes")
    return name
