"""What every command prints with --json is what its schema in docs/schemas says."""

import json
from pathlib import Path

import jsonschema
import pytest

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
COMMANDS = {
    "caption": ["caption", "{scan}", "{folder}/gone.png", "--fields", "--reference", "axial CT", "--json"],
    "search": ["search", "axial CT", "--json"],
    "score": ["score", "{folder}/predictions.jsonl", "--json"],
    "clean": ["clean", "folder", "{raw}", "--dry-run", "--json"],
    "index": ["index", "{corpus}", "--collection", "phantoms", "--dry-run", "--json"],
    "evaluate": ["evaluate", "{corpus}", "--collection", "phantoms", "--json"],
    "doctor": ["doctor", "--json"],
    "config-show": ["config", "show", "--json"],
    "collections-list": ["collections", "list", "--json"],
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_output_follows_its_schema(road, tmp_path, name):
    predictions = {"id": "a", "prediction": "axial CT", "references": ["axial CT scan"]}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(predictions) + "\n", encoding="utf-8")
    places = {"scan": road.scan, "raw": road.raw, "corpus": road.corpus, "folder": tmp_path}
    done = road.medclip(*(argument.format(**places) for argument in COMMANDS[name]))
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    documents = done.records if name == "caption" else [done.answer]
    assert documents
    for document in documents:
        jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def test_every_schema_is_a_schema_and_is_tried():
    files = sorted(SCHEMAS.glob("*.schema.json"))
    assert [file.name.removesuffix(".schema.json") for file in files] == sorted(COMMANDS)
    for file in files:
        jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text(encoding="utf-8")))
