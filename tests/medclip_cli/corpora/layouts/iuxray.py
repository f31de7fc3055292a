"""IU X-Ray in its three forms."""

from __future__ import annotations

import json
from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "indiana_projections.csv"

REPORTS = (
    "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
    '1,normal,normal,Chest PA and Lateral,TB test,None.,"The heart, XXXX, is normal.",Normal.\n'
    "2,Cardiomegaly/borderline;Nodule/left,Cardiomegaly;Nodule,Chest,pain,None.,,Borderline heart.\n"
    "3,No Indexing,No Indexing,Chest,,,,\n"
)
PROJECTIONS = (
    "uid,filename,projection\n"
    "1,1_IM-0001-4001.dcm.png,Frontal\n"
    "1,1_IM-0001-3001.dcm.png,Lateral\n"
    "2,2_IM-0652-1001.dcm.png,Frontal\n"
    "3,3_IM-1384-1001.dcm.png,Frontal\n"
)


def xml(uid: str, findings: str, impression: str, images: dict[str, str], mesh: tuple[str, ...] = ()) -> str:
    sections = {"COMPARISON": "None.", "INDICATION": "pain", "FINDINGS": findings, "IMPRESSION": impression}
    texts = "".join(f'<AbstractText Label="{name}">{text}</AbstractText>' for name, text in sections.items())
    major = "".join(f"<major>{term}</major>" for term in mesh)
    shown = "".join(f'<parentImage id="{i}"><caption>{t}</caption></parentImage>' for i, t in images.items())
    return f'<eCitation><uId id="{uid}"/><Abstract>{texts}</Abstract><MeSH>{major}</MeSH>{shown}</eCitation>'


def draw(root: Path) -> None:
    """Draw Kaggle's form."""
    write(root / "indiana_reports.csv", REPORTS)
    write(root / TABLE, PROJECTIONS)
    for seed, row in enumerate(PROJECTIONS.splitlines()[1:]):
        draw_scan(root / "images" / "images_normalized" / row.split(",")[1], seed=seed)


def draw_xml(root: Path) -> None:
    reports = root / "ecgen-radiology"
    two = {"CXR1_1_IM-0001-3001": "Xray Chest PA and Lateral", "CXR1_1_IM-0001-4001": "Lateral view"}
    mesh = ("Cardiomegaly/mild", "Cardiomegaly/borderline", "Aorta/tortuous")
    write(reports / "1.xml", xml("CXR1", "The heart is\n normal.", "Normal.", two, mesh))
    write(reports / "2.xml", xml("CXR2", "", "", {"CXR2_IM-0652-1001": "PA chest"}))
    write(reports / "3.xml", xml("CXR3", "No images were kept.", "", {}))
    write(reports / "10.xml", "<eCitation><cut")
    for seed, name in enumerate((*two, "CXR2_IM-0652-1001")):
        draw_scan(root / "NLMCXR_png" / f"{name}.png", seed=seed)


def draw_r2gen(root: Path) -> None:
    case = {"id": "CXR2384_IM-0942", "report": "The lungs are clear.", "split": "train"}
    paths = ["CXR2384_IM-0942/0.png", "CXR2384_IM-0942/1.png"]
    held_out = {**case, "id": "CXR9_IM-2407", "split": "test", "image_path": ["CXR9_IM-2407/0.png"]}
    # One public copy has blanks where the key "test" should be.
    lists = {"train": [{**case, "image_path": paths}], "val": [], "    ": [held_out, "not a case"]}
    write(root / "annotation.json", json.dumps(lists))
    for seed, path in enumerate(paths):
        draw_scan(root / "images" / path, seed=seed)
