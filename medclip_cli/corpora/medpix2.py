"""MedPix 2.0 (CHILab1/MedPix-2.0): ``Descriptions.json``, ``Case_topic.json`` and an ``images`` folder.

``images_overview.csv`` is not read: 261 of its images are not in the folder, and 261 others are not in it.

Of the two location fields, ``Location`` is the region ("Brain and Neuro") and the topic's ``Category`` the
category ("Neoplasm, glial"). With these the seed's caption template gives the published floor of captions
picked by the nearest pixels (dev split, BLEU-1 0.56, CIDEr 0.40); ``Location Category`` ("Head") in the place
of the category gives 0.60 and 0.56, since it only repeats what the location says. A template can still name
it as ``{location_category}``.

An age of 0 is none: of 63 such images most belong to adults by their history, a few to newborns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medclip_cli.corpora.layout import DatasetLayout, ImageFiles, ReadOptions, base_folder, below, list_images
from medclip_cli.corpora.notes import named, note
from medclip_cli.corpora.tables import read_json
from medclip_cli.corpora.vocabulary import age_of, known, modality_of, sex_of, split_of, texts, view_of, words
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image."""
    base = base_folder(root, ["Descriptions.json"], "MedPix 2.0")
    descriptions = _list(base / "Descriptions.json")
    cases = {case.get("U_id"): case for case in _list(base / "Case_topic.json") if isinstance(case, dict)}
    splits = _official_splits(base / "splitted_dataset" / "uid_list.json")
    images, prefix = list_images(root), below(root, base) + "images/"
    for number, entry in enumerate(descriptions):
        if isinstance(entry, dict) and isinstance(entry.get("Description"), dict):
            yield _row(entry, cases.get(entry.get("U_id"), {}), splits, images, prefix)
        else:
            yield SourceRow(f"entry{number}", "", fault=("malformed_row", "not an image description"))


def _row(
    entry: Mapping[str, Any],
    case: Mapping[str, Any],
    splits: Mapping[str, str],
    images: ImageFiles,
    prefix: str,
) -> SourceRow:
    about, case_id, name = entry["Description"], str(entry.get("U_id")), str(entry.get("image"))
    story, topic = _part(case, "Case"), _part(case, "Topic")
    age = None if str(about.get("Age")) == "0" else about.get("Age")
    # The set is published as PNG; without a file to look at that is the name to expect.
    image = next((p for p in (f"{prefix}{name}{s}" for s in (".png", ".jpg")) if p in images.paths), None)
    return SourceRow(
        key=name,
        image=image or f"{prefix}{name}.png",
        modality="OT" if about.get("Modality") == "Drawing" else modality_of(entry.get("Type")),
        group=case_id,
        split=splits.get(case_id),
        texts=texts(
            report=about.get("Caption"),
            findings=story.get("Findings"),
            impression=story.get("Case Diagnosis"),
        ),
        words=words(
            modality=entry.get("Type"),
            view=about.get("Plane"),
            region=entry.get("Location"),
            location_category=entry.get("Location Category"),
            category=topic.get("Category"),
            age=age,
            sex=about.get("Sex"),
            diagnosis=story.get("Title"),
            caption=about.get("Caption"),
            sequence=about.get("Modality"),
        ),
        view=view_of(about.get("Plane")),
        region=known(entry.get("Location")),
        category=known(topic.get("Category")),
        age=age_of(age),
        sex=sex_of(about.get("Sex")),
    )


def _official_splits(path: Path) -> dict[str, str]:
    """Return the split of each case; empty when the list was not downloaded."""
    if not path.is_file():
        note(f"there is no {path}: the official split is not known, cases are distributed anew")
        return {}
    lists = read_json(path)
    if not isinstance(lists, dict):
        raise CorpusError(f"{path} is not a list of cases by split: download it again")
    others = {str(n): len(c) for n, c in lists.items() if isinstance(c, list) and split_of(n) is None}
    if others:
        note(f"{path}: lists that name no split are not used: {named(others, 'case')}")
    return {
        str(case): split
        for name, cases in lists.items()
        if (split := split_of(name)) and isinstance(cases, list)
        for case in cases
    }


def _list(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise CorpusError(f"{path} is not a list of entries: download it again")
    return content


def _part(case: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = case.get(name)
    return part if isinstance(part, dict) else {}


LAYOUT = DatasetLayout(
    name="medpix2",
    title="MedPix 2.0",
    licence="MedPix terms of use (NLM)",
    download="github.com/CHILab1/MedPix-2.0: the MedPix-2-0 folder",
    reads="Descriptions.json, Case_topic.json, images/, splitted_dataset/uid_list.json",
    read=read,
    texts=("report", "findings", "impression"),
    sentence="{view} {modality} of the {region} of a {age} year old {sex}, {category}: {diagnosis}",
    fields="modality: {modality}, plane: {view}, category: {category}, diagnosis: {diagnosis}",
    default_caption="medpix-seed",
)
