"""`medclip train confidence` and what `medclip caption` makes of it, as processes of their own."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.models import load_model
from medclip_cli.scoring.meteor import find_meteor


@pytest.fixture(scope="module")
def calibrated(demo, tmp_path_factory):
    """A copy of the model whose confidence was measured, with a collection of its own."""
    folder = tmp_path_factory.mktemp("calibrated")
    model, home = folder / "model", folder / "home"
    shutil.copytree(demo.model, model)
    measured = demo.medclip("train", "confidence", demo.corpus, "--model", model, "--json")
    assert measured.code == 0, measured.err
    done = demo.medclip("index", demo.corpus, "--model", model, "--collection", "phantoms", home=home)
    assert done.code == 0, done.err

    def caption(*arguments, **more):
        return demo.medclip("caption", *arguments, home=home, **more)

    caption.measured, caption.model = measured.answer, model
    return caption


def test_confidence_measures_every_method_and_names_the_best(calibrated):
    measured = calibrated.measured
    assert set(measured["methods"]) == {"nearest", "consensus"}
    best = max(measured["methods"], key=lambda name: measured["methods"][name]["scores"]["cider"])
    assert measured["best_method"] == best
    assert -1 < measured["domain_floor"] < 1


def test_measuring_leaves_the_model_valid_and_its_fingerprint_alone(demo, calibrated):
    collection = demo.medclip("caption", demo.scan, "--model", calibrated.model, "--json")
    assert collection.code == 0, collection.err


def test_auto_answers_with_what_won(demo, calibrated):
    (record,) = calibrated(demo.scan, "--json").records
    assert record["method"] == calibrated.measured["best_method"]
    assert 0 < record["confidence"] < 1


def test_consensus_answers_with_a_neighbours_caption(demo, calibrated):
    """However far away the neighbour is that lent it: it is shown beside the `-k` nearest, and marked."""
    for k in (1, 20):
        (record,) = calibrated(demo.scan, "--method", "consensus", "-k", k, "--json").records
        assert record["method"] == "consensus"
        (lender,) = [neighbour for neighbour in record["neighbours"] if neighbour["lent"]]
        assert (lender["caption"], lender["score"]) == (record["caption"], record["score"])
        assert len(record["neighbours"]) in (k, k + 1)


def test_a_model_that_was_not_measured_answers_with_the_nearest(demo):
    (record,) = demo.medclip("caption", demo.scan, "--json").records
    assert (record["method"], record["confidence"]) == ("nearest", None)


def test_min_confidence_without_a_measure_is_wrong_usage(demo):
    done = demo.medclip("caption", demo.scan, "--min-confidence", "0.5")
    assert done.code == 2
    assert "medclip train confidence" in done.err


def test_min_confidence_where_no_answer_could_be_judged_is_wrong_usage(demo, calibrated, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(calibrated.model, copy)
    content = json.loads((copy / "captioning.json").read_text(encoding="utf-8"))
    for method in content["methods"].values():
        method["platt"] = None
    load_model(copy).add_files({"captioning.json": json.dumps(content).encode()})
    done = calibrated(demo.scan, "--model", copy, "--min-confidence", "0.5")
    assert done.code == 2
    assert "too few val images" in " ".join(done.err.split())
    assert calibrated(demo.scan, "--model", copy, "--json").records[0]["confidence"] is None


def test_an_answer_that_is_not_sure_enough_is_none(demo, calibrated):
    (record,) = calibrated(demo.scan, "--min-confidence", "1", "--json").records
    assert record["caption"] is None
    assert "no reliable match: confidence" in record["reason"]
    assert record["neighbours"]


def test_what_is_far_from_everything_gets_no_caption(demo, calibrated, tmp_path):
    """A floor that nothing reaches stands in for an image that is like nothing: the model saw two epochs."""
    copy = tmp_path / "model"
    shutil.copytree(calibrated.model, copy)
    content = json.loads((copy / "captioning.json").read_text(encoding="utf-8")) | {"domain_floor": 1.1}
    load_model(copy).add_files({"captioning.json": json.dumps(content).encode()})
    (record,) = calibrated(demo.scan, "--model", copy, "--json").records
    assert record["caption"] is None
    assert record["reason"].startswith("no reliable match: the image is further")


def test_noise_gets_no_caption(demo, calibrated, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    done = calibrated(tmp_path / "noise.png", "--json")
    assert done.code == 0
    assert done.records[0]["caption"] is None
    assert done.records[0]["reason"].startswith("no reliable match: the image does not look like")


def test_fields_are_voted_on_in_json_and_in_the_table(demo, calibrated):
    (record,) = calibrated(demo.scan, "--fields", "--json").records
    vote = record["fields"]["modality"]
    assert vote["share"] == pytest.approx(vote["shares"][vote["value"]])
    assert sum(vote["shares"].values()) == pytest.approx(1, abs=1e-5)
    assert "modality" in calibrated(demo.scan, "--fields").out
    assert "fields" not in calibrated(demo.scan, "--json").records[0]


def test_a_reference_scores_the_answer(demo, calibrated):
    (plain,) = calibrated(demo.scan, "--json").records
    done = calibrated(demo.scan, "--reference", plain["caption"], "--reference", "zebra", "--json")
    scores = done.records[0]["reference_scores"]
    assert scores["bleu4"] == pytest.approx(1)
    assert scores["rouge_l"] == pytest.approx(1)
    assert scores["cider"] == pytest.approx(5)  # 10 of a caption that some collections hold, 0 of the zebra
    assert ("meteor" in scores) == (find_meteor() is not None)
    assert ("METEOR is left out" in done.err) == (find_meteor() is None)
    other = calibrated(demo.scan, "--reference", "zebra")
    assert {"bleu1", "rouge_l", "cider"} <= set(other.out.split())
    assert calibrated(demo.scan, "--reference", " ").code == 2


def test_a_row_of_a_corpus_is_scored_with_its_own_captions_and_never_answers_itself(
    demo, calibrated, tmp_path
):
    opened = Corpus.open(demo.corpus)
    row = opened.split("train")[0]
    strange = tmp_path / "strange.png"
    Image.open(demo.scan).rotate(7).save(strange)
    done = calibrated(opened.image_path(row), strange, "--corpus", demo.corpus, "--json")
    known, unknown = done.records
    assert known["reference_scores"].keys() >= {"bleu1", "bleu4", "rouge_l", "cider"}
    assert row.id not in [neighbour["id"] for neighbour in known["neighbours"]]
    assert "reference_scores" not in unknown
    assert f"{strange} is not an image of {demo.corpus}" in " ".join(done.err.split())
    (alone,) = calibrated(opened.image_path(row), "--json").records
    assert row.id == alone["neighbours"][0]["id"]


def test_a_copy_of_a_scan_is_known_by_its_bytes_and_never_answers_itself(demo, calibrated, tmp_path):
    opened = Corpus.open(demo.corpus)
    row = opened.split("train")[0]
    copy = tmp_path / "moved and renamed.png"
    shutil.copy(opened.image_path(row), copy)
    done = calibrated(copy, "--corpus", demo.corpus, "--json")
    (record,) = done.records
    assert record["reference_scores"].keys() >= {"bleu1", "cider"}
    assert row.id not in [neighbour["id"] for neighbour in record["neighbours"]]
    assert "is not an image of" not in done.err


def test_filters_do_not_make_a_scan_a_stranger(demo, calibrated):
    (record,) = calibrated(demo.scan, "--where", "modality=MR", "--json").records
    assert record["caption"] is not None
    assert {neighbour["fields"]["modality"] for neighbour in record["neighbours"]} == {"MR"}


def test_a_damaged_measure_is_one_line(demo, calibrated, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(calibrated.model, copy)
    with (copy / "captioning.json").open("r+b") as file:
        file.write(b"x")
    done = calibrated(demo.scan, "--model", copy)
    assert done.code == 1
    assert "captioning.json" in done.err


def test_confidence_needs_validation_images(demo, tmp_path):
    rng = np.random.default_rng(0)
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (48, 48), dtype=np.uint8)).save(raw / f"{name}.png")
    (raw / "captions.csv").write_text("image,caption,split\na.png,one,train\nb.png,two,train\n")
    assert demo.medclip("clean", "folder", raw, "--out", tmp_path / "corpus").code == 0
    done = demo.medclip("train", "confidence", tmp_path / "corpus", "--model", demo.model)
    assert done.code == 1
    assert "val images" in done.err
    (raw / "captions.csv").write_text("image,caption,split\na.png,one,train\nb.png,two,val\n")
    assert demo.medclip("clean", "folder", raw, "--out", tmp_path / "corpus", "--force").code == 0
    raw.rename(tmp_path / "elsewhere")
    done = demo.medclip("train", "confidence", tmp_path / "corpus", "--model", demo.model)
    assert done.code == 1
    assert f"none of the 1 train images can be read: if they moved from {raw}, clean again" in " ".join(
        done.err.split()
    )
