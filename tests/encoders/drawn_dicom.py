"""DICOM files drawn for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)


def write_dicom(path: Path, stored: np.ndarray, **elements: Any) -> Path:
    """Write stored values ``[h, w]``, ``[frames, h, w]`` or ``[h, w, 3]`` with the elements named."""
    header = header_of(**elements)
    colour = stored.ndim == 3 and stored.shape[-1] == 3
    header.SamplesPerPixel = 3 if colour else 1
    if "PhotometricInterpretation" not in header:
        header.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        header.PlanarConfiguration = 0
    elif stored.ndim == 3:
        header.NumberOfFrames = len(stored)
    header.Rows, header.Columns = stored.shape[:2] if colour else stored.shape[-2:]
    bits = 8 * stored.dtype.itemsize
    header.BitsAllocated, header.BitsStored, header.HighBit = bits, bits, bits - 1
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    header.PixelData = stored.tobytes()
    return save(header, path)


def header_of(**elements: Any) -> FileDataset:
    """Return a file without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[repr(sorted(elements))])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for name, value in elements.items():
        setattr(header, name, value)
    return header


def save(header: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def item(**elements: Any) -> Dataset:
    """Return one item of a sequence."""
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def as_written(path: Path, stored: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """Write stored values as vendors do.

    A text stands in the file as it is, whatever its element may hold; a pair is a value with the kind of its
    field (``("SS", -2000)``); None leaves an element out. Bytes are in the file's own order.
    """
    header = dcmread(write_dicom(path, stored))
    implicit, big = syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    header.file_meta.TransferSyntaxUID = syntax
    if big:
        header.PixelData = np.frombuffer(header.PixelData, np.uint16).byteswap().tobytes()
    for name, value in elements.items():
        tag = Tag(tag_for_keyword(name))
        if value is None:
            header.pop(tag, None)
        elif isinstance(value, str):
            text = (value + " " * (len(value) % 2)).encode()
            kind = dictionary_VR(tag)
            header._dict[tag] = RawDataElement(tag, kind, len(text), text, 0, implicit, not big, True)
        elif isinstance(value, tuple):
            header.add_new(tag, *value)
        else:
            setattr(header, name, value)
    dcmwrite(path, header, implicit_vr=implicit, little_endian=not big, force_encoding=True)
    return path
