"""The report of an evaluation, over a collection and a model that answer as they are told."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medclip_cli import models
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CollectionError, CorpusError, MedclipError, ScoringError, UsageError
from medclip_cli.evaluation import answers, files, report, run
from medclip_cli.evaluation.run import Request, evaluate_split
from medclip_cli.models import Embedded
from medclip_cli.records import CaptionedImage, Neighbour

CAPTIONS = ("axial CT of the chest", "sagittal MR of the knee", "coronal MR of the knee")


def record(number, split):
    kind = number % 3
    return CaptionedImage(
        id=f"drawn/{split}{number}",
        image=f"{split}{number}.png",
        caption=CAPTIONS[kind],
        captions=(CAPTIONS[kind],),
        modality=("CT", "MR", "MR")[kind],
        view=("Axial", "Sagittal", "Coronal")[kind],
        region=("Chest", "Knee", "Knee")[kind],
        findings=(("mass",), (), ("tear",))[kind],
        group=f"{split}{number // 2}",
        split=split,
        source="medpix2",
        licence="none",
    )


@pytest.fixture
def corpus(tmp_path):
    records = [record(number, split) for split in ("train", "val") for number in range(6)]
    rng = np.random.default_rng(0)
    for row in records:
        Image.fromarray(rng.integers(0, 255, (40, 40)).astype(np.uint8)).save(tmp_path / row.image)
    return Corpus(tmp_path, "drawn", tmp_path, "report", tuple(records))


class Index:
    """Answers every image with the train records in turn; knows which groups it holds."""

    def __init__(self, corpus, held=()):
        source = SimpleNamespace(splits=("train",), image_root=str(corpus.image_root))
        self.info = SimpleNamespace(
            name="c", model_name="m", fingerprint="f", dim=4, corpora={"drawn": source}, model_path="m"
        )
        self.records, self.held, self.excluded = corpus.split("train"), held, []

    def query(self, queries):
        if queries[0].where:
            return [[Neighbour(1, 1.0, "x", "", "", "drawn", group) for group in self.held]]
        self.excluded += [query.exclude_groups for query in queries]
        return [self._neighbours(place) for place in range(len(queries))]

    def _neighbours(self, place):
        if place == 5:
            return []
        order = [*self.records[place:], *self.records[:place]]
        return [
            Neighbour(
                rank + 1,
                0.9 - 0.1 * rank,
                row.id,
                row.caption,
                row.image,
                "drawn",
                row.group,
                {"modality": row.modality, "view": row.view, "findings": list(row.findings)},
            )
            for rank, row in enumerate(order)
        ]


class Model:
    """One vector a caption; the image of row `broken` cannot be read."""

    def __init__(self, broken=()):
        self.broken = broken

    def embed_files(self, paths):
        for place, path in enumerate(paths):
            bad = place in self.broken
            yield Embedded(
                place,
                path,
                None if bad else np.eye(4, dtype=np.float32)[place % 3],
                "broken" if bad else None,
            )

    def embed_texts(self, texts):
        return np.eye(4, dtype=np.float32)[[CAPTIONS.index(text) for text in texts]]


def judged(corpus, index=None, model=None, **request):
    return evaluate_split(corpus, index or Index(corpus), model or Model(), Request(**request))


def reported(corpus, **options):
    return report.build_report(judged(corpus), corpus, Index(corpus).info, **{"resamples": 50} | options)


def test_the_report_is_plain_json_and_holds_every_part(corpus):
    report = json.loads(json.dumps(reported(corpus, by=("modality",))))
    assert list(report["captions"]) == [*run.DEFAULT_METHODS, *answers.BASELINES]
    assert report["captions"]["nearest"]["distinct"] == 4
    assert report["captions"]["most_frequent"]["distinct"] == 1
    assert report["n"] == report["pool"] == 6
    # The sixth image got no answer; the five others got a caption of their own kind.
    assert report["captions"]["nearest"]["rouge_l"] == pytest.approx(5 / 6)
    assert report["fields"]["nearest"]["modality"]["agreement"] == pytest.approx(5 / 6)
    assert report["findings"]["nearest"]["exact_match"] == pytest.approx(5 / 6)
    assert report["retrieval"]["image_to_text"]["r@1"] == 1.0
    assert set(report["by"]["modality"]) == {"CT", "MR"}
    assert report["by"]["modality"]["CT"]["image_to_text"]["queries"] == 2
    assert report["comparisons"]["random"]["rouge_l"]["p"] <= 1
    assert all(row["note"].startswith("published, not comparable: ") for row in report["published"])
    assert len(report["published"]) == 2
    low, high = report["intervals"]["nearest"]["rouge_l"]
    assert low <= 5 / 6 <= high


def test_without_resamples_there_are_no_intervals(corpus):
    report = reported(corpus, resamples=0)
    assert (report["intervals"], report["comparisons"]) == ({}, {})


def test_cases_of_the_split_are_left_out_of_the_answers_or_refused(corpus):
    index = Index(corpus, held=("val0", "val1"))
    result = judged(corpus, index)
    assert result.overlap == ("val0", "val1")
    assert set(index.excluded) == {frozenset({"val0", "val1", "val2"})}
    with pytest.raises(
        CollectionError, match=r"holds 2 cases of the val split \(val0, val1\): leave them out"
    ):
        judged(corpus, index, exclude_groups=False)
    many = Index(corpus, held=tuple(f"g{i}" for i in range(9)))
    with pytest.raises(CollectionError, match="g4 and 4 more"):
        judged(corpus, many, exclude_groups=False)
    apart = Index(corpus)
    assert judged(corpus, apart, exclude_groups=False).overlap == ()
    assert set(apart.excluded) == {frozenset()}


def test_images_that_cannot_be_read_are_named(corpus):
    result = judged(corpus, model=Model(broken=(1,)))
    assert result.unreadable == {"drawn/val1": "broken"}
    assert len(result.rows) == 5
    with pytest.raises(CorpusError, match=r"none of the 6 images can be read \(broken\)"):
        judged(corpus, model=Model(broken=range(6)))


def test_a_split_or_a_pool_that_is_empty(corpus):
    with pytest.raises(CorpusError, match="has no images in its test split"):
        judged(corpus, split="test")
    stranger = Index(corpus)
    stranger.info.corpora = {}
    with pytest.raises(CorpusError, match="holds no other case of corpus 'drawn'"):
        judged(corpus, stranger)


def test_methods_and_fields_are_chosen_by_name():
    assert run.methods_named(None) == ("nearest", "consensus")
    assert run.methods_named(["consensus", "consensus"]) == ("consensus",)
    with pytest.raises(UsageError, match="unknown method 'oracle': choose of nearest, consensus, generate"):
        run.methods_named(["oracle"])
    assert run.fields_named(None) == ()
    with pytest.raises(UsageError, match="unknown field 'age': choose of modality, view"):
        run.fields_named(["age"])


def test_a_run_compared_with_itself_does_not_differ(corpus, tmp_path):
    report = reported(corpus)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    found = report.compare_runs(report, path, resamples=50)
    assert found["run"] == "run.json"
    for differences in found["differences"].values():
        assert {(one["difference"], one["p"]) for one in differences.values()} == {(0.0, 1.0)}


def test_runs_are_paired_by_id_whatever_their_order(corpus, tmp_path):
    report = reported(corpus)
    earlier = json.loads(json.dumps(report))
    earlier["items"]["ids"].reverse()
    for table in earlier["items"]["methods"].values():
        table["bleu_counts"].reverse()
        for values in table["means"].values():
            values.reverse()
    path = tmp_path / "run.json"
    path.write_text(json.dumps(earlier), encoding="utf-8")
    found = report.compare_runs(report, path, resamples=50)["differences"]["nearest"]
    assert {one["p"] for one in found.values()} == {1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run["items"]["ids"].pop(), "judged 5 items, this run 6, of which 1 are new"),
        (lambda run: run.pop("items"), "is no run: save one with medclip evaluate"),
        (lambda run: run["items"]["methods"]["nearest"].pop("means"), "no table of item scores"),
    ],
)
def test_runs_that_cannot_be_compared(corpus, tmp_path, change, message):
    report = reported(corpus)
    earlier = json.loads(json.dumps(report))
    change(earlier)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(earlier), encoding="utf-8")
    with pytest.raises(ScoringError, match=message):
        report.compare_runs(report, path)
    with pytest.raises(ScoringError, match="cannot read .*absent.json: No such file"):
        report.compare_runs(report, tmp_path / "absent.json")


def test_a_decoder_writes_from_the_image_and_its_neighbours(corpus, monkeypatch):
    class Captioner:
        def encode_files(self, paths, batch_size):
            return (SimpleNamespace(grid=np.full((1, 2), number)) for number, _ in enumerate(paths))

        def write(self, grids, texts, options):
            return [
                [SimpleNamespace(caption=f"{grid[0, 0]} beside {known[:1]}")]
                for grid, known in zip(grids, texts, strict=True)
            ]

    monkeypatch.setattr(models, "open_captioner", lambda path: Captioner())
    monkeypatch.setattr(models, "writing_options", lambda: None)
    monkeypatch.setattr("medclip_cli.evaluation.answers.BATCH_SIZE", 4)
    model = Model()
    model.path = corpus.path
    answers = judged(corpus, model=model, methods=("generate",)).answers["generate"]
    assert [answer.caption for answer in answers] == [
        *(f"{number} beside [{CAPTIONS[number % 3]!r}]" for number in range(5)),
        "5 beside []",
    ]
    assert answers[0].fields["modality"] == "CT"
    assert answers[5].fields == {}


def test_csv_holds_a_row_for_each_number(corpus):
    rows = list(csv.DictReader(io.StringIO(report.as_csv(reported(corpus, by=("view",))))))
    parts = {row["part"] for row in rows}
    assert {"captions", "fields", "retrieval", "retrieval view=Axial"} <= parts
    assert any(part.startswith("published, not comparable") for part in parts)
    (cider,) = [r for r in rows if (r["part"], r["what"], r["score"]) == ("captions", "nearest", "cider")]
    assert float(cider["low"]) <= float(cider["value"]) <= float(cider["high"])
    assert cider["n"] == "6"


def test_the_page_and_the_plots_are_written_whole(corpus, tmp_path):
    result, report = judged(corpus), reported(corpus)
    out = tmp_path / "out"
    out.mkdir()
    files.write_page_and_plots(result, report, corpus, None, None)
    assert list(out.iterdir()) == []
    files.write_page_and_plots(result, report, corpus, out / "page.html", out / "plots")
    assert sorted(path.name for path in out.iterdir()) == ["page.html", "plots"]
    assert (out / "page.html").stat().st_mode & 0o777 == 0o600
    page = (out / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2 * (6 + 5), "each item twice; one has no look-alike"
    assert (out / "plots" / "recall.svg").is_file()
    with pytest.raises(MedclipError, match="cannot write .*absent"):
        files.write_page_and_plots(result, report, corpus, out / "absent" / "page.html", None)
