"""The JSON Schemas of the commands, and what it is to follow one."""

import json
from pathlib import Path

import jsonschema

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"
SUFFIX = ".schema.json"


def names():
    return sorted(file.name.removesuffix(SUFFIX) for file in FOLDER.glob(f"*{SUFFIX}"))


def schema(name):
    return json.loads((FOLDER / f"{name}{SUFFIX}").read_text(encoding="utf-8"))


def check(name, document):
    """Fail unless the document follows the schema of this command."""
    jsonschema.validate(document, schema(name), jsonschema.Draft202012Validator)
