"""MIMIC-CXR-JPG: gzipped tables of 2.0.0, reports in the folder of their own archive. All text is drawn."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "mimic-cxr-2.0.0-metadata.csv.gz"
METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning\n"
    "aaa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531,,postero-anterior,Erect\n"
    "aaa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531,,lateral,Erect\n"
    "bbb-1,11000033,50000001,CHEST (PORTABLE AP),,3056,2544,21800506,213014.531,,,\n"
    "ccc-1,12000034,50000002,,XTABLE LATERAL,3056,2544,21800506,213014.531,,,\n"
)
SPLIT = (
    "dicom_id,study_id,subject_id,split\n"
    "aaa-1,50414267,10000032,train\n"
    "aaa-2,50414267,10000032,train\n"
    "bbb-1,50000001,11000033,validate\n"
    "ccc-1,50000002,12000034,test\n"
)
LABELS = (
    "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,"
    "Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,"
    "Support Devices\n"
    "10000032,50414267,,1.0,,-1.0,,,,,,0.0,,,,\n"
    "11000033,50000001,,,,,,,,,1.0,,,,,\n"
)
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites

 COMPARISON:  Chest radiograph ___

 FINDNGS:

 The heart is enlarged.
 1. There is no effusion.

 IMPRESSION:

 Cardiomegaly on ___.
"""


def draw(root: Path) -> None:
    write(root / TABLE, METADATA)
    write(root / "mimic-cxr-2.0.0-split.csv.gz", SPLIT)
    write(root / "mimic-cxr-2.0.0-chexpert.csv.gz", LABELS)
    write(root / "mimic-cxr-reports/files/p10/p10000032/s50414267.txt", REPORT)
    write(root / "files/p11/p11000033/s50000001.txt", " PORTABLE CHEST.\n\n No acute process.\n")
    for seed, row in enumerate(METADATA.splitlines()[1:]):
        image, patient, study = row.split(",")[:3]
        draw_scan(root / f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg", seed=seed)
