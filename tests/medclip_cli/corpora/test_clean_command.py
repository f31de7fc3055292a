"""`medclip clean`: from a folder to a corpus, and one clear line when something is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from medclip_cli.cleaning import corpus_builder
from medclip_cli.commands import clean
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import MedclipError, UsageError
from medclip_cli.progress import Progress
from medclip_cli.terminal import console
from tests.medclip_cli.cleaning.drawn import draw


def run(*arguments: object) -> Result:
    console.show_log()
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(clean.clean)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, MedclipError), result.output
    message = str(result.exception)
    assert "\n" not in message
    return message


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    root = tmp_path / "scans"
    names = ["a", "b", "c", "d"]
    for seed, name in enumerate(names):
        draw(root / f"{name}.png", seed=seed)
        (root / f"{name}.txt").write_text(f"scan {name}")
    (root / "b.png").write_bytes((root / "b.png").read_bytes()[:300])
    (root / "c.txt").unlink()
    return root


def test_a_folder_becomes_a_corpus(scans: Path, tmp_path: Path) -> None:
    result = run("folder", scans, "--out", tmp_path / "corpus")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:5] == [
        "outcome           rows",
        "kept                 2",
        "missing_caption      1",
        "unreadable_image     1",
        "read                 4",
    ]
    assert "2 of 4 rows kept" in result.stderr
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.name == "corpus"
    assert [(r.id, r.caption, r.source) for r in corpus.records] == [
        ("corpus/a", "scan a", "corpus"),
        ("corpus/d", "scan d", "corpus"),
    ]
    assert all(corpus.image_path(record).is_file() for record in corpus.records)
    with (tmp_path / "corpus" / "rejected.csv").open() as file:
        assert {row["id"]: row["reason"] for row in csv.DictReader(file)} == {
            "corpus/b": "unreadable_image",
            "corpus/c": "missing_caption",
        }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "scans"]


def test_json_is_one_object_and_adds_up(scans: Path, tmp_path: Path) -> None:
    result = run("folder", scans, "--out", tmp_path / "corpus", "--json", "--name", "mine")
    report = json.loads(result.stdout)
    assert report["read"] == report["kept"] + sum(report["rejected"].values())
    assert (report["name"], report["caption_style"], report["images_checked"]) == ("mine", "report", True)
    assert Corpus.open(tmp_path / "corpus").name == "mine"


def test_clean_from_python(scans: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    report = corpus_builder.clean("folder", scans, tmp_path / "corpus", on_progress=seen.append)
    assert (report.read, report.kept, report.rejected) == (
        4,
        2,
        {"missing_caption": 1, "unreadable_image": 1},
    )
    written = json.loads((tmp_path / "corpus" / "report.json").read_text())
    counted = json.loads(json.dumps(report.to_dict()))
    assert counted.pop("corpus") == str(tmp_path / "corpus")
    assert counted == {key: written[key] for key in counted}
    assert seen[-1] == Progress("Decoding", 3, 3, failed=1)
    assert report.to_pandas()["rows"].tolist() == [2, 1, 1]
    assert "unreadable_image" in report._repr_html_()
    with pytest.raises(UsageError, match="'CAT' is not one of"):
        corpus_builder.clean("folder", scans, None, modality={"cat"})
    assert corpus_builder.clean("folder", scans, None, modality="ot, ct", skip_image_check=True).kept == 3


def test_dry_run_writes_nothing(scans: Path, tmp_path: Path) -> None:
    assert run("folder", scans, "--out", tmp_path / "corpus", "--dry-run").exit_code == 0
    assert run("folder", scans, "--dry-run").exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["scans"]


def test_metadata_alone(scans: Path, tmp_path: Path) -> None:
    result = run("folder", scans, "--out", tmp_path / "corpus", "--skip-image-check", "--json")
    report = json.loads(result.stdout)
    assert (report["kept"], report["images_checked"]) == (3, False)
    assert Corpus.open(tmp_path / "corpus").records[0].sha256 == ""


def test_output_that_exists(scans: Path, tmp_path: Path) -> None:
    run("folder", scans, "--out", tmp_path / "corpus")
    assert "exists: replace it with force" in refusal("folder", scans, "--out", tmp_path / "corpus")
    assert run("folder", scans, "--out", tmp_path / "corpus", "--force", "--limit", 1).exit_code == 0
    assert len(Corpus.open(tmp_path / "corpus").records) == 1


def test_nothing_to_keep(scans: Path, tmp_path: Path) -> None:
    message = refusal("folder", scans, "--out", tmp_path / "corpus", "--modality", "CT")
    assert message == f"none of the 4 rows of {scans} could be kept (4 modality)"
    (scans / "captions.csv").write_text("image,caption\nx.png,y\n")
    assert "(1 missing_image): are the images below it?" in refusal("folder", scans, "--dry-run")
    (scans / "captions.csv").write_text(f"image,caption\n{scans / 'a.png'},y\n")
    assert "(1 unsafe_path): give the paths of images relative to it" in refusal("folder", scans, "--dry-run")
    (scans / "captions.csv").write_text("image,weight\na.png,12\n")
    assert "(1 missing_caption): a table needs a column caption" in refusal("folder", scans, "--dry-run")
    (scans / "captions.csv").write_text("image,caption\n")
    assert "has no rows" in refusal("folder", scans, "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("folder",), "needs DATASET, ROOT and --out"),
        (("folders", "x", "--out", "y"), "no data set 'folders': did you mean folder"),
        (("folder", "nowhere", "--out", "y"), "there is no folder nowhere"),
        (("folder", ".", "--out", "y", "--modality", "CAT"), "modality 'CAT' is not one of CT, MR"),
        (("folder", ".", "--out", "y", "--caption", "poem"), "caption 'poem' is none of report"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal(*arguments)


def test_a_name_that_no_row_fills_is_said(scans: Path, tmp_path: Path) -> None:
    asked = "{image} of {reigon}"
    result = run("folder", scans, "--out", tmp_path / "corpus", "--caption", asked, "--splits", "group")
    assert "no row fills {reigon}: there are image\n" in result.stderr
    record = Corpus.open(tmp_path / "corpus").records[0]
    assert record.caption == record.image


def test_strict_fails_on_a_leak_and_writes_nothing(tmp_path: Path) -> None:
    for name in ("train/a.png", "test/b.png"):
        draw(tmp_path / "scans" / name, seed=1)
    (tmp_path / "scans" / "captions.csv").write_text("image,caption\ntrain/a.png,x\ntest/b.png,y\n")
    assert "0 groups, 1 exact and 0 near-duplicate" in refusal(
        "folder", tmp_path / "scans", "--out", tmp_path / "corpus", "--strict"
    )
    assert not (tmp_path / "corpus").exists()
    result = run("folder", tmp_path / "scans", "--out", tmp_path / "corpus")
    assert result.exit_code == 0
    assert f"stand in train: see leaks in {tmp_path / 'corpus' / 'report.json'}" in " ".join(
        result.stderr.split()
    )


def test_it_is_said_when_nothing_tells_which_images_are_of_one_patient(scans: Path, tmp_path: Path) -> None:
    alone = run("folder", scans, "--out", tmp_path / "alone")
    assert "Each image counts as a patient of its own." in alone.stderr
    (scans / "captions.csv").write_text("image,caption,patient\na.png,x,p1\nd.png,y,p1\n")
    known = run("folder", scans, "--out", tmp_path / "known")
    assert known.exit_code == 0, known.output
    assert "a patient of its own" not in known.stderr


def test_an_interruption_is_gone_on_from(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medclip_cli.cleaning import images as reading

    def interrupt(source: object, *, least_side: int | None = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_image", interrupt)
        result = run("folder", scans, "--out", tmp_path / "corpus")
    assert "clean again to go on" in result.stderr
    assert (tmp_path / ".corpus.cleaning.jsonl").exists()
    assert run("folder", scans, "--out", tmp_path / "corpus").exit_code == 0
    assert not (tmp_path / ".corpus.cleaning.jsonl").exists()


def test_the_list_of_data_sets() -> None:
    assert "medpix2" in run("--list").stdout
    listed = json.loads(run("--list", "--json").stdout)
    assert {"name", "title", "licence", "download", "reads"} == set(listed[0])


def test_the_real_sample(shared_dir: Path, tmp_path: Path) -> None:
    root = shared_dir / "data" / "medpix2"
    if not root.is_dir():
        pytest.skip("the MedPix 2.0 sample is not there")
    seed = json.loads(run("medpix2", root, "--out", tmp_path / "corpus", "--json").stdout)
    assert (seed["read"], seed["kept"], seed["splits"]["train"]["images"]) == (1850, 1850, 1653)
    report = run("medpix2", root, "--dry-run", "--skip-image-check", "--json", "--caption", "report")
    assert json.loads(report.stdout)["rejected"] == {"placeholder_caption": 21}
