"""What every command prints with --json is what its schema in docs/schemas says."""

import json
import shutil
from dataclasses import replace

import jsonschema
import pytest

from tests.medclip_cli import schemas
from tests.medclip_cli.test_command_line import every_command

LINES = frozenset(("caption", "duplicates"))  # JSON Lines: one document a line
COMMANDS = {
    "caption": ["caption", "{scan}", "{folder}/gone.png", "--fields", "--reference", "axial CT", "--json"],
    "search": ["search", "axial CT", "--json"],
    "score": ["score", "{folder}/predictions.jsonl", "--json"],
    "clean": ["clean", "folder", "{raw}", "--dry-run", "--json"],
    "clean-list": ["clean", "--list", "--json"],
    "index": ["index", "{corpus}", "--collection", "phantoms", "--dry-run", "--json"],
    "evaluate": ["evaluate", "{corpus}", "--collection", "phantoms", "--json"],
    "duplicates": ["duplicates", "{corpus}", "--collection", "phantoms", "--min-score", "0.5", "--json"],
    "doctor": ["doctor", "--json"],
    "config-show": ["config", "show", "--json"],
    "paths": ["paths", "--json"],
    "models-list": ["models", "list", "{folder}", "--json"],
    "models-show": ["models", "show", "{model}", "--json"],
    "corpus-show": ["corpus", "show", "{corpus}", "--json"],
    "corpus-merge": ["corpus", "merge", "{corpus}", "{twin}", "--out", "{folder}/both", "--json"],
    "collections-list": ["collections", "list", "--json"],
    "collections-show": ["collections", "show", "phantoms", "--json"],
    "collections-verify": ["collections", "verify", "phantoms", "--json"],
    "collections-tune": ["collections", "tune", "phantoms", "{corpus}", "--json"],
    "collections-export": ["collections", "export", "phantoms", "--out", "{folder}/a.medclip", "--json"],
    "collections-import": ["collections", "import", "{folder}/b.medclip", "--force", "--json"],
    "train-confidence": ["train", "confidence", "{corpus}", "--model", "{model}", "--json"],
}
ELSEWHERE = {
    "train-encoders": "the demo of these tests",
    "train-decoder": "tests/medclip_cli/captioning/test_generate_command.py",
}


@pytest.fixture(scope="module")
def places(demo, tmp_path_factory):
    """A home and a model that the commands may change, and the files they are told of."""
    folder = tmp_path_factory.mktemp("schemas")
    shutil.copytree(demo.folder / "home", folder / "home")
    shutil.copytree(demo.model, folder / "model")
    shutil.copytree(demo.model, folder / "damaged")
    (folder / "damaged" / "text.onnx").unlink()
    shutil.copytree(demo.corpus, folder / "twin")
    predictions = {"id": "a", "prediction": "axial CT", "references": ["axial CT scan"]}
    (folder / "predictions.jsonl").write_text(json.dumps(predictions) + "\n", encoding="utf-8")
    copy = ("collections", "export", "phantoms", "--out", folder / "b.medclip")
    assert replace(demo, folder=folder).medclip(*copy).code == 0
    own = {name: folder / name for name in ("model", "twin")}
    return {"scan": demo.scan, "raw": demo.raw, "corpus": demo.corpus, "folder": folder, **own}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_output_follows_its_schema(demo, places, name):
    command = (argument.format(**places) for argument in COMMANDS[name])
    done = demo.medclip(*command, home=places["folder"] / "home")
    documents = done.records if name in LINES else [done.answer]
    assert documents, done.err
    for document in documents:
        schemas.check(name, document)


def test_texts_on_stdin_follow_the_schema_of_search(demo):
    done = demo.medclip("search", "-", "-k", 2, "--json", stdin="axial CT\n\udcff\n")
    answered, failed = done.records
    assert (len(answered["found"]), "error" in failed) == (2, True)
    schemas.check("search", answered)
    schemas.check("search", failed)
    with pytest.raises(jsonschema.ValidationError):
        schemas.check("search", {"query": "axial CT"})


def test_training_follows_its_schema(demo):
    schemas.check("train-encoders", demo.trained)


def test_every_command_with_json_has_a_schema_that_is_tried():
    with_json = {
        "-".join(path)
        for path, command in (case.values for case in every_command())
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json | {"clean-list"} == set(schemas.names())
    assert set(schemas.names()) == set(COMMANDS) | set(ELSEWHERE)


@pytest.mark.parametrize("name", schemas.names())
def test_every_schema_is_a_schema_that_says_what_it_is_of(name):
    schema = schemas.schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    command = name.replace("-list", " --list") if name == "clean-list" else name.replace("-", " ")
    assert schema["title"] == f"medclip {command} --json"
    assert schema["description"]
