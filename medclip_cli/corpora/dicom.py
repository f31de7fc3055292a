"""A tree of DICOM files, captioned by what their headers may say, or by a table.

Only modality, body part, view and laterality leave a header, and only in the standard's own terms, since
people type names anywhere; and two keyed hashes: of the patient, which makes the group, and of the
instance, which makes the id. The basic confidentiality profile of PS3.15 drops or replaces all the rest.
The key is a secret of this installation, so that nobody can try patient numbers against the hashes. Paths
of files do enter the corpus: rename files that are named after patients.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.corpora.folder import LAYOUT as FOLDER
from medclip_cli.corpora.folder import Columns, captions_of
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.notes import note
from medclip_cli.corpora.tables import read_table
from medclip_cli.corpora.vocabulary import known, view_of, words
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# PS3.3 C.7.3.1.1.1; what is not here is OT.
_MODALITIES = {
    **dict.fromkeys(("CR", "DX", "DR", "MG", "RG", "PX", "IO", "BMD"), "XR"),
    **dict.fromkeys(("XA", "RF", "DS"), "AN"),
    **dict.fromkeys(("US", "IVUS"), "US"),
    **{"CT": "CT", "MR": "MR", "NM": "NM", "PT": "PET", "SM": "HE", "XC": "GX"},
}
_SPOKEN = {"XR": "X-ray", "AN": "angiogram", "US": "ultrasound", "NM": "nuclear medicine", "HE": "histology"}
_SIDES = {"L": "left", "R": "right", "B": "both"}
# PS3.16 annex L. Any other word may be a name.
_BODY_PARTS = frozenset(
    "ABDOMEN ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF"
    " CAROTID CEREBELLUM CHEST CLAVICLE COCCYX COLON ELBOW ESOPHAGUS EXTREMITY EYE FACE FEMUR FINGER"
    " FOOT FOREARM GALLBLADDER HAND HEAD HEART HIP HUMERUS JAW KIDNEY KNEE LARYNX LEG LIVER LUNG MAXILLA"
    " MANDIBLE MEDIASTINUM MOUTH NECK NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PHARYNX PROSTATE"
    " RECTUM RIB SCALP SCAPULA SCROTUM SHOULDER SINUS SKULL SPINE SPLEEN STERNUM STOMACH TESTIS THIGH"
    " THORAX THUMB THYMUS THYROID TOE TONGUE TRACHEA URETER URETHRA UTERUS VAGINA WRIST".split()
)
_BODY_REGIONS = {
    **{"CSPINE": "Cervical spine", "TSPINE": "Thoracic spine", "LSPINE": "Lumbar spine", "TMJ": "Jaw"},
    **{"SSPINE": "Sacral spine", "LSSPINE": "Lumbosacral spine", "TLSPINE": "Thoracolumbar spine"},
    **{"ABDOMENPELVIS": "Abdomen and pelvis", "CHESTABDOMEN": "Chest and abdomen"},
    **{"CHESTABDPELVIS": "Chest, abdomen and pelvis", "WHOLEBODY": "Whole body"},
    **{"NECKCHEST": "Neck and chest", "HEADNECK": "Head and neck", "CORONARYARTERY": "Coronary artery"},
}
# PS3.3 C.8.1.1.1.1 (radiography) and C.8.11.7 (mammography).
_VIEW_POSITIONS = frozenset(
    "AP PA LL RL LAT LATERAL RLD LLD RLO LAO RAO LPO RPO CC MLO ML LM LMO XCC XCCL FB SIO ISO CV AT".split()
)
_PLANES = ("Sagittal", "Coronal", "Axial")
# cos 37 degrees: an image turned further from every plane is oblique.
_OBLIQUE_BELOW = 0.8
_HASH_LETTERS = 20
_READ = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "Modality"),
    *("BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "ImageOrientationPatient"),
    *("Rows", "SharedFunctionalGroupsSequence"),
)
_DICOMDIR = "1.2.840.10008.1.3.10"
# The secret of this installation, under which patients' numbers are hashed.
KEY_FILE = "patient-hash.key"
KEY_BYTES = 32


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row a DICOM file, in the order of paths."""
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    # pydicom's warnings quote the header.
    warnings.filterwarnings("ignore", module="pydicom")
    captions = _captions(options.captions_file, options) if options.captions_file else {}
    found = False
    for path in dicom_files(root):
        found = True
        row = _row(path, path.relative_to(root).as_posix(), options.secret, captions)
        if row is not None:
            yield row
    if not found:
        raise CorpusError(f"{root} has no DICOM files: name the folder they are in")


def dicom_files(root: Path) -> Iterator[Path]:
    """Yield the files that begin as DICOM does; many have no ending, or a number for one."""
    for folder, inside, files in os.walk(root):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            try:
                # Opening a named pipe would wait for ever.
                if not path.is_file():
                    continue
                with path.open("rb") as file:
                    is_dicom = file.read(132)[128:] == b"DICM"
            except OSError:
                continue
            if is_dicom:
                yield path


def _row(path: Path, image: str, secret: bytes, captions: Mapping[str, Any]) -> SourceRow | None:
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_READ))
        if header.get("SOPClassUID") == _DICOMDIR:
            return None
        return _described(header, image, secret, captions)
    # Damaged files make pydicom raise nearly anything, with the header's words in the message.
    except Exception as error:
        return SourceRow(image, "", fault=("malformed_row", f"a damaged header ({type(error).__name__})"))


def _described(header: Dataset, image: str, secret: bytes, captions: Mapping[str, Any]) -> SourceRow:
    instance = known(header.get("SOPInstanceUID")) or image
    patient = [known(header.get("IssuerOfPatientID")), known(header.get("PatientID"))]
    owner = "/".join(p or "" for p in patient) if patient[1] else known(header.get("StudyInstanceUID"))
    code = (known(header.get("Modality")) or "OT").upper()
    modality = _MODALITIES.get(code, "OT")
    region, view = _region(header), _view(header) or plane_of(_orientation(header))
    side = _SIDES.get(known(header.get("ImageLaterality")) or known(header.get("Laterality")) or "")
    named = (image, Path(image).name, os.path.splitext(image)[0], Path(image).stem, instance)
    caption = next((captions[name] for name in named if name in captions), None)
    return SourceRow(
        key=keyed_hash(secret, instance),
        image=image,
        modality=modality,
        group=keyed_hash(secret, owner) if owner else "",
        texts=captions_of(caption) if caption is not None else {},
        words=words(
            modality=_SPOKEN.get(modality, modality if modality != "OT" else None),
            view=view,
            region=region.lower() if region else None,
            laterality=side,
        ),
        view=view,
        region=region,
        fault=None if "Rows" in header else ("no_pixel_data", f"no picture in it (modality {code[:16]})"),
    )


def keyed_hash(secret: bytes, text: str) -> str:
    """Return a hash that tells nothing to whoever lacks the secret (HMAC-SHA-256, 80 bits of it)."""
    return hmac.new(secret, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:_HASH_LETTERS]


def plane_of(orientation: Sequence[float] | None) -> str | None:
    """Return the plane of an image from the directions of its rows and columns.

    Args:
        orientation: six cosines, the row's and the column's, in patient coordinates (PS3.3 C.7.6.2.1.1).

    >>> plane_of([1, 0, 0, 0, 1, 0]), plane_of([0, 1, 0, 0, 0, -1]), plane_of([1, 0, 0, 0, 0.7, 0.7])
    ('Axial', 'Sagittal', 'Oblique')
    """
    if orientation is None or len(orientation) != 6:
        return None
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    normal = [abs(b * f - c * e), abs(c * d - a * f), abs(a * e - b * d)]
    if max(normal) < _OBLIQUE_BELOW:
        return "Oblique"
    return _PLANES[normal.index(max(normal))]


def _orientation(header: Dataset) -> list[float] | None:
    value = header.get("ImageOrientationPatient")
    for group in [] if value else (header.get("SharedFunctionalGroupsSequence") or [])[:1]:
        for plane in (group.get("PlaneOrientationSequence") or [])[:1]:
            value = plane.get("ImageOrientationPatient")
    return [float(number) for number in value] if value else None


def _region(header: Dataset) -> str | None:
    part = re.sub(r"[\s_^]+", "", known(header.get("BodyPartExamined")) or "").upper()
    return part.capitalize() if part in _BODY_PARTS else _BODY_REGIONS.get(part)


def _view(header: Dataset) -> str | None:
    position = (known(header.get("ViewPosition")) or "").upper()
    return view_of(position) if position in _VIEW_POSITIONS else None


def _captions(table: Path, options: ReadOptions) -> dict[str, Any]:
    """Return captions by what the table calls the image: a path, a name, or an instance UID."""
    columns = Columns.of(table, options)
    if columns.caption is None:
        raise CorpusError(f"{table} has no caption column: give caption_column")
    if columns.others:
        others = ", ".join(columns.others)
        note(f"{table}: the headers of the images count in the place of its columns {others}")
    rows = ((row.get(columns.image), row.raw(columns.caption)) for row in read_table(table) if not row.fault)
    return {name: caption for name, caption in rows if name and caption is not None}


def patient_key(home: Path) -> bytes:
    """Return the key, made once and readable by its owner alone.

    A second corpus of the same hospital gets the same hashes, so that a patient stays one group; a lost key
    makes new ones.

    Raises:
        CorpusError: the key cannot be read or written, or was cut short.
    """
    path, fresh = home / KEY_FILE, home / f".{KEY_FILE}.{secrets.token_hex(4)}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Made whole under another name: two processes at once must end up with one key.
            try:
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                with suppress(FileExistsError):
                    os.link(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)
        key = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"the key {path} cannot be used ({error.strerror}): set MEDCLIP_HOME") from error
    if len(key) != KEY_BYTES:
        raise CorpusError(f"the key {path} is damaged: restore it, or remove it to make new patient hashes")
    return key


LAYOUT = DatasetLayout(
    name="dicom",
    title="A tree of DICOM files",
    licence=FOLDER.licence,
    download="files of any name, and if you like a table of captions by path, name or SOPInstanceUID",
    reads="all DICOM files: modality, body part, view and laterality of the header",
    read=read,
    texts=("report",),
    sentence="{view} {modality} of the {laterality} {region}",
    fields="modality: {modality}, view: {view}, region: {region}, side: {laterality}",
    default_caption="template",
    is_own=True,
    hashes_patients=True,
)
