"""The whole pipeline, command by command, on drawn data."""

import json
import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.test_architecture import TORCH_FREE


def test_the_corpus_counts_every_row(demo):
    report = json.loads((demo.corpus / "report.json").read_text(encoding="utf-8"))
    assert report["read"] == report["kept"] + sum(report["rejected"].values()) == 180


def test_caption_answers_in_json_lines(demo):
    done = demo.medclip("caption", demo.scan, demo.scan, "-k", "3", "--collection", "phantoms", "--json")
    assert done.code == 0, done.err
    assert done.err == ""
    first, second = done.records
    assert first == second
    assert first["image"] == str(demo.scan)
    assert first["method"] == "nearest"
    assert first["caption"] == first["neighbours"][0]["caption"]
    assert [neighbour["rank"] for neighbour in first["neighbours"]] == [1, 2, 3]
    scores = [neighbour["score"] for neighbour in first["neighbours"]]
    assert scores == sorted(scores, reverse=True)
    assert first["collection"] == "phantoms"


def test_an_indexed_scan_is_its_own_nearest_neighbour(demo):
    rows = pq.read_table(demo.corpus / "corpus.parquet").to_pylist()
    known = next(row for row in rows if row["split"] == "train")
    (hit,) = demo.medclip("search", "--image", demo.raw / known["image"], "-k", "1", "--json").answer
    assert hit["id"] == known["id"]
    (record,) = demo.medclip("caption", demo.raw / known["image"], "-k", "1", "--json").records
    assert record["score"] == pytest.approx(1.0, abs=1e-3)


def test_caption_reads_paths_from_stdin_and_goes_on_after_a_bad_one(demo, tmp_path):
    broken = tmp_path / "notes.jpg"
    broken.write_text("no picture", encoding="utf-8")
    done = demo.medclip("caption", "-", "--json", stdin=f"{demo.scan}\n{broken}\n{demo.scan}\n")
    assert done.code == 3
    assert [record["caption"] is None for record in done.records] == [False, True, False]
    assert done.records[1]["error"]
    assert str(broken) in done.err


def test_caption_of_nothing_readable_is_exit_1(demo, tmp_path):
    done = demo.medclip("caption", tmp_path / "gone.png", "--json")
    assert done.code == 1
    assert "gone.png" in done.err


def test_no_reliable_match_is_an_answer(demo):
    done = demo.medclip("caption", demo.scan, "--where", "modality=US", "--json")
    assert done.code == 0
    assert done.records[0]["caption"] is None
    assert "no known image" in done.records[0]["reason"]


def test_where_keeps_only_what_matches(demo):
    done = demo.medclip(
        "search", "lesion", "--where", "modality=MR", "--where", "view!=Axial", "-k", "50", "--json"
    )
    fields = [hit["fields"] for hit in done.answer]
    assert fields
    assert {field["modality"] for field in fields} == {"MR"}
    assert "Axial" not in {field["view"] for field in fields}


@pytest.mark.parametrize("mode", ["hybrid", "dense", "words"])
def test_search_by_words(demo, mode):
    done = demo.medclip("search", "coronal CT scan", "--mode", mode, "-k", "5", "--json")
    assert done.code == 0, done.err
    assert len(done.answer) == 5
    if mode == "words":
        assert all("coronal CT" in hit["caption"] for hit in done.answer)


def test_people_get_a_table_and_the_disclaimer_on_stderr(demo):
    done = demo.medclip("caption", demo.scan, "-k", "2")
    assert "rank" in done.out
    assert "not a medical device" in done.err
    assert "not a medical device" not in done.out


def test_evaluate_judges_the_split_beside_baselines(demo):
    done = demo.medclip("evaluate", demo.corpus, "--split", "val", "--json")
    assert done.code == 0, done.err
    answer = done.answer
    assert set(answer["captions"]) >= {
        "nearest",
        "random",
        "most_frequent",
        "pixel_nearest",
        "same_fields_oracle",
    }
    assert answer["captions"]["most_frequent"]["distinct"] == 1
    assert answer["n"] == answer["retrieval"]["image_to_text"]["pool"]
    assert 0 < answer["retrieval"]["image_to_text"]["chance_r@1"] < 0.5


def test_a_folder_of_images_will_do_and_what_the_model_may_have_seen_is_said(demo, tmp_path):
    home, model = tmp_path / "home", tmp_path / "model"
    shutil.copytree(demo.model, model)
    assert demo.medclip("index", demo.raw, "--model", model, "--collection", "own", home=home).code == 0
    judged = demo.medclip("evaluate", demo.raw, "--no-meteor", "--resamples", 10, home=home)
    assert judged.code == 0, judged.err
    said = " ".join(judged.err.split())
    assert "of the split: they are left out of the answers." in said
    assert "Model model was trained on corpus corpus, not on raw-" in said
    assert demo.medclip("train", "confidence", demo.raw, "--model", model, home=home).code == 0
    assert (model / "captioning.json").is_file()


def test_evaluate_of_an_empty_split_says_so(demo, tmp_path):
    done = demo.medclip("evaluate", tmp_path / "none", "--json")
    assert done.code == 1
    assert "no corpus at" in done.err


def test_a_model_of_another_fingerprint_is_refused(demo, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(demo.model, other)
    config = other / "config.json"
    config.write_text(config.read_text().replace('"fit": "pad"', '"fit": "squash"'))
    done = demo.medclip("caption", demo.scan, "--collection", "phantoms", "--model", other)
    assert done.code == 1
    assert "other" in done.err and "model" in done.err
    assert done.out == ""


def test_a_collection_whose_model_moved_or_became_another_says_so(demo, tmp_path):
    model, home, out = tmp_path / "model", tmp_path / "home", tmp_path / "own.medclip"
    shutil.copytree(demo.model, model)
    assert demo.medclip("index", demo.corpus, "--model", model, "--collection", "own", home=home).code == 0
    moved = model.rename(tmp_path / "moved")
    gone = demo.medclip("caption", demo.scan, home=home)
    assert gone.code == 1
    assert f"which is no longer at {model}: say where it is with --model" in " ".join(gone.err.split())
    assert demo.medclip("caption", demo.scan, "--model", moved, home=home).code == 0
    shutil.copytree(demo.model, model)
    (model / "config.json").write_text(
        (model / "config.json").read_text(encoding="utf-8").replace('"fit": "pad"', '"fit": "squash"'),
        encoding="utf-8",
    )
    for arguments in (("caption", demo.scan), ("collections", "export", "own", "--with-model", "--out", out)):
        other = demo.medclip(*arguments, home=home)
        assert other.code == 1
        assert str(model) in "".join(other.err.split())
    assert not out.exists()


def test_an_unknown_collection_names_those_there_are(demo):
    done = demo.medclip("search", "lesion", "--collection", "nope")
    assert done.code == 1
    assert "'nope'" in done.err
    assert "phantoms" in done.err


def test_an_unknown_preset_names_those_there_are(demo, tmp_path):
    done = demo.medclip("train", "encoders", demo.corpus, "--out", tmp_path / "m", "--preset", "huge")
    assert done.code in (1, 2)
    assert "tiny" in done.err
    assert not (tmp_path / "m").exists()


def test_an_altered_model_is_refused(demo, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(demo.model, copy)
    graph = copy / "image.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    done = demo.medclip("caption", demo.scan, "--model", copy)
    assert done.code == 1
    assert "image.onnx" in done.err


def test_doctor_finds_everything_well(demo):
    done = demo.medclip("doctor", "--json")
    assert done.code == 0, done.out
    assert {finding["what"] for finding in done.answer["findings"]} >= {
        "torch",
        "home",
        "collection phantoms",
    }


def test_doctor_names_a_model_that_is_gone(demo, tmp_path):
    home = tmp_path / "home"
    model = tmp_path / "model"
    shutil.copytree(demo.model, model)
    assert demo.medclip("index", demo.corpus, "--model", model, "--collection", "x", home=home).code == 0
    shutil.rmtree(model)
    done = demo.medclip("doctor", "--json", home=home)
    assert done.code == 1
    wrong = [finding for finding in done.answer["findings"] if not finding["ok"]]
    assert [finding["what"] for finding in wrong] == ["model model", "collection x"]
    assert all(finding["mend"] for finding in wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        ("caption", "{scan}", "--json"),
        ("search", "axial CT", "--json"),
        ("evaluate", "{corpus}", "--json"),
        ("index", "{corpus}", "--model", "{model}", "--collection", "imports"),
        ("--help",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_asking_never_imports_torch(demo, tmp_path, arguments):
    values = {"scan": str(demo.scan), "corpus": str(demo.corpus), "model": str(demo.model)}
    command = [argument.format(**values) for argument in arguments]
    if command[0] in ("caption", "search", "evaluate"):
        command += ["--collection", "phantoms"]
    probe = (
        "import sys\n"
        "from medclip_cli.app import app\n"
        f"sys.argv = ['medclip', *{command!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        f"print(*(m for m in {TORCH_FREE!r} if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        env=dict(os.environ, MEDCLIP_HOME=str(tmp_path if command[0] == "index" else demo.folder / "home")),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1:] in ([], [""]), done.stderr


def test_search_by_several_examples_and_away_from_one(demo):
    images = sorted((demo.raw / "images").glob("*.png"))
    like = ("--image", images[0], "--image", images[2])
    mean = demo.medclip("search", *like, "-k", "5", "--json").answer
    fused = demo.medclip("search", *like, "--combine", "rrf", "-k", "5", "--json").answer
    away = demo.medclip("search", *like, "--not-image", images[4], "-k", "5", "--json").answer
    assert len(mean) == len(fused) == len(away) == 5
    assert [hit["score"] for hit in away] != [hit["score"] for hit in mean]
    # Twice the image less once the image is the image again.
    itself = demo.medclip(
        "search", "--image", images[0], "--not-image", images[0], "-k", "5", "--json"
    ).answer
    plain = demo.medclip("search", "--image", images[0], "-k", "5", "--json").answer
    assert [hit["id"] for hit in itself] == [hit["id"] for hit in plain]


def test_a_patient_can_be_left_out(demo):
    best = demo.medclip("search", "--image", demo.scan, "-k", "1", "--json").answer[0]
    row = best["id"]
    corpus = pq.read_table(demo.corpus / "corpus.parquet").to_pylist()
    group = next(record["group"] for record in corpus if record["id"] == row)
    others = demo.medclip(
        "search", "--image", demo.scan, "-k", "20", "--exclude-group", group, "--json"
    ).answer
    members = {record["id"] for record in corpus if record["group"] == group}
    assert others
    assert not members & {hit["id"] for hit in others}
