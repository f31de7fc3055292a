"""The cases, by family: each is a generator that makes the files of a case just before it is run."""

import random

from tests.medclip_cli.robustness import file_cases, image_cases
from tests.medclip_cli.robustness.argument_cases import argument_cases

FAMILIES = {
    "images": (image_cases.image_cases, 720),
    "single images": (image_cases.single_image_cases, 90),
    "predictions": (file_cases.prediction_cases, 300),
    "tables": (file_cases.table_cases, 150),
    "settings": (file_cases.settings_cases, 150),
    "models": (file_cases.model_cases, 60),
    "collections": (file_cases.collection_cases, 70),
    "archives": (file_cases.archive_cases, 50),
    "corpora": (file_cases.corpus_cases, 100),
    "shards": (file_cases.shard_cases, 50),
    "arguments": (argument_cases, 300),
    "names": (image_cases.name_cases, 60),
}


def cases_of(family, demo, folder, seed, count=None):
    """Yield the cases of a family, the same ones for the same seed."""
    make, usual = FAMILIES[family]
    yield from make(demo, folder, random.Random(f"{family} {seed}"), usual if count is None else count)
