"""`medclip train decoder`, and the captions that `medclip caption --method generate` writes."""

import os
import subprocess
import sys

import pytest

from tests.medclip_cli import schemas
from tests.test_architecture import TORCH_FREE


@pytest.fixture(scope="module")
def writing(demo, trained_decoder):
    """A copy of the model with a decoder; the collection of the demo still fits it."""
    model, done = trained_decoder

    def caption(*arguments, **more):
        given = ("--collection", "phantoms", "--model", model, "--json")
        return demo.medclip("caption", *arguments, *given, **more)

    caption.trained, caption.model, caption.progress = done.answer, model, done.err
    return caption


def test_training_says_how_every_method_did(writing):
    schemas.check("train-decoder", writing.trained)
    assert set(writing.trained["captioning"]["methods"]) == {"nearest", "consensus", "generate"}
    assert writing.trained["best_epoch"] >= 1
    assert "epoch 3/3" in writing.progress


def test_a_generated_caption_comes_with_its_neighbours_and_confidence(demo, writing):
    (record,) = writing(demo.scan, "--method", "generate", "--beam", "3").records
    assert record["method"] == "generate"
    assert record["caption"]
    assert record["captions"][0]["caption"] == record["caption"]
    assert len(record["neighbours"]) == 5
    assert record["confidence"] is None or 0 < record["confidence"] < 1


def test_several_captions_come_best_first(demo, writing):
    (record,) = writing(demo.scan, "--method", "generate", "--num-captions", "4").records
    scores = [one["score"] for one in record["captions"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_a_seed_draws_the_same_captions_again(demo, writing):
    draw = ("--method", "generate", "--temperature", "1", "--top-p", "0.9", "--seed")
    first, again, other = (
        [
            one["caption"]
            for one in writing(demo.scan, *draw, seed, "--num-captions", 3).records[0]["captions"]
        ]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_batch_with_a_broken_image_goes_on(demo, writing, tmp_path):
    broken = tmp_path / "notes.jpg"
    broken.write_text("no picture", encoding="utf-8")
    scans = sorted((demo.raw / "images").glob("*.png"))[:9]
    done = writing(*scans[:3], broken, *scans[3:], "--method", "generate", "--max-tokens", "6")
    assert done.code == 3
    assert [record["image"] for record in done.records] == [str(p) for p in (*scans[:3], broken, *scans[3:])]
    assert [place for place, record in enumerate(done.records) if record.get("error")] == [3]


def test_explain_writes_a_page_with_where_the_decoder_looked(demo, writing, tmp_path):
    page = tmp_path / "why.html"
    done = writing(demo.scan, "--method", "generate", "--explain", page)
    assert done.code == 0, done.err
    text = page.read_text(encoding="utf-8")
    assert "Where the decoder looked" in text
    assert done.records[0]["neighbours"][0]["id"] in text
    assert [path.name for path in tmp_path.iterdir()] == ["why.html"]
    nowhere = writing(demo.scan, "--explain", tmp_path / "none" / "why.html")
    assert nowhere.code == 1
    assert "name a file in a folder that exists" in nowhere.err


def test_generate_without_a_decoder_says_how_to_get_one(demo):
    done = demo.medclip("caption", demo.scan, "--method", "generate")
    assert done.code == 1
    assert "medclip train decoder" in done.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--method", "generate", "--beam", "0"), "beam"),
        (("--method", "generate", "--top-p", "2"), "top_p"),
        (("--method", "nearest", "--beam", "2"), "beam"),
        (("--method", "nearest", "--num-captions", "2"), "num_captions"),
        (("--method", "consensus", "--allow-repeats"), "allow_repeats"),
    ],
)
def test_wrong_usage_names_the_option(demo, writing, flags, named):
    done = writing(demo.scan, *flags)
    assert done.code == 2
    assert named in done.err.replace("-", "_")


def test_longer_captions_than_the_decoder_learned_are_refused(demo, writing):
    done = writing(demo.scan, "--method", "generate", "--max-tokens", "500")
    assert done.code == 2
    assert "max_tokens is 500" in done.err


def test_impossible_training_names_the_field(demo):
    train = ("train", "decoder", demo.corpus, "--model", demo.model)
    for flags, named in (
        (("--decoder", "lstm", "--retrieve", "2"), "retrieve"),
        (("--width", "33"), "width"),
    ):
        done = demo.medclip(*train, *flags)
        assert done.code == 2
        assert named in done.err


def test_writing_never_imports_torch(demo, writing):
    command = ["caption", str(demo.scan), "--collection", "phantoms", "--model", str(writing.model), "--json"]
    probe = (
        "import sys\n"
        "from medclip_cli.app import app\n"
        f"sys.argv = ['medclip', *{[*command, '--method', 'generate']!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        f"print(*(m for m in {TORCH_FREE!r} if m in sys.modules), file=sys.stderr)"
    )
    environment = dict(os.environ, MEDCLIP_HOME=str(demo.folder / "home"))
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1:] in ([], [""]), done.stderr
