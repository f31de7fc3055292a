"""A PACS export: files without endings, a report among them, a DICOMDIR, and a patient's words everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.encoders.drawn_dicom import header_of, save, write_dicom

SECRETS = ("Roe", "Jane", "MRN-123456", "19600102", "Dr Who", "St Elsewhere", "fell off her horse")
IDENTIFYING = {
    "PatientName": "Roe^Jane",
    "PatientID": "MRN-123456",
    "PatientBirthDate": "19600102",
    "ReferringPhysicianName": "Dr Who",
    "InstitutionName": "St Elsewhere",
    "StudyDescription": "Jane Roe fell off her horse",
    "SeriesDescription": "Jane Roe fell off her horse",
    "StudyInstanceUID": "1.2.3",
}


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (40, 48), dtype=np.uint16)


def draw(root: Path) -> None:
    brain = {"Modality": "MR", "BodyPartExamined": "BRAIN", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    write_dicom(root / "S1" / "IM0001", scan(0), SOPInstanceUID="1.1", **IDENTIFYING, **brain)
    knee = {"Modality": "DX", "BodyPartExamined": "KNEE", "ViewPosition": "AP", "ImageLaterality": "L"}
    write_dicom(root / "S1" / "2.dcm", scan(1), SOPInstanceUID="1.2", **IDENTIFYING, **knee)
    write_dicom(root / "S2" / "3", scan(2), SOPInstanceUID="1.3", Modality="CT", StudyInstanceUID="4.5.6")
    save(header_of(Modality="SR", SOPInstanceUID="1.4", **IDENTIFYING), root / "S1" / "report")
    directory = header_of(SOPInstanceUID="1.5")
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    save(directory, root / "DICOMDIR")
    (root / "notes.txt").write_text("not DICOM")
