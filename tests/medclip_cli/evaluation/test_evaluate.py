"""`medclip.evaluate` and its report, over a collection and a model with fixed answers."""

import csv
import io
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medclip_cli import models
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CollectionError, CorpusError, MedclipError, ScoringError, UsageError
from medclip_cli.evaluation.answers import BASELINES
from medclip_cli.evaluation.run import DEFAULT_METHODS, evaluate
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
    """Answers every image with the train records in turn, the last with none; knows which groups it holds."""

    def __init__(self, corpus, held=()):
        source = SimpleNamespace(splits=("train",), image_root=str(corpus.image_root))
        self.info = SimpleNamespace(
            name="c", model_name="m", fingerprint="f", dim=4, corpora={"drawn": source}, model_path="m"
        )
        self.records, self.held, self.excluded = corpus.split("train"), held, []

    def query(self, queries):
        if queries[0].where:
            return [[Neighbour(1, 1.0, "x", "", "", "drawn", group) for group in self.held]]
        first = len(self.excluded)
        self.excluded += [query.exclude_groups for query in queries]
        return [self._neighbours((first + number) % 6) for number in range(len(queries))]

    def _neighbours(self, number):
        if number == 5:
            return []
        order = [*self.records[number:], *self.records[:number]]
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

    name, trained_on = "m", {"corpus": "others"}

    def __init__(self, broken=(), path=None):
        self.broken, self.path = broken, path

    def embed_files(self, paths):
        for number, path in enumerate(paths):
            bad = number in self.broken
            vector = None if bad else np.eye(4, dtype=np.float32)[number % 3]
            yield Embedded(number, path, vector, "broken" if bad else None)

    def embed_texts(self, texts):
        return np.eye(4, dtype=np.float32)[[CAPTIONS.index(text) for text in texts]]


def evaluated(corpus, index=None, model=None, **options):
    collection = SimpleNamespace(index=index or Index(corpus), model=model or Model())
    return evaluate(corpus, collection, **{"resamples": 50, "meteor": False} | options)


def test_the_report_is_plain_json_and_holds_every_part(corpus):
    report = json.loads(json.dumps(evaluated(corpus, by=("modality",)).to_dict()))
    assert list(report["captions"]) == [*DEFAULT_METHODS, *BASELINES]
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
    assert set(report["items"]["methods"]) == set(DEFAULT_METHODS)


def test_without_resamples_there_are_no_intervals(corpus):
    report = evaluated(corpus, resamples=0)
    assert (report.intervals, report.comparisons) == ({}, {})


def test_the_report_as_tables(corpus):
    report = evaluated(corpus, by=("view",))
    captions, retrieval, items = report.to_pandas(), report.retrieval_to_pandas(), report.items_to_pandas()
    assert captions.loc["nearest", "rouge_l"] == pytest.approx(5 / 6)
    assert retrieval.loc[("retrieval view=Axial", "image_to_text"), "queries"] == 2
    assert len(items) == 6 * len(captions)
    assert items[items.method == "nearest"].rouge_l.mean() == pytest.approx(5 / 6)
    assert "ROUGE-L" in report._repr_html_()

    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    parts = {row["part"] for row in rows}
    assert {"captions", "fields", "retrieval", "retrieval view=Axial"} <= parts
    assert any(part.startswith("published, not comparable") for part in parts)
    (cider,) = [r for r in rows if (r["part"], r["what"], r["score"]) == ("captions", "nearest", "cider")]
    assert float(cider["low"]) <= float(cider["value"]) <= float(cider["high"])
    assert cider["n"] == "6"


def test_cases_of_the_split_are_left_out_of_the_answers_or_refused(corpus):
    index = Index(corpus, held=("val0", "val1"))
    assert evaluated(corpus, index).excluded_groups == ("val0", "val1")
    assert set(index.excluded) == {frozenset({"val0", "val1", "val2"})}
    with pytest.raises(CollectionError, match=r"holds 2 cases of the val split \(val0, val1\)"):
        evaluated(corpus, index, skip_overlap=False)
    many = Index(corpus, held=tuple(f"g{i}" for i in range(9)))
    with pytest.raises(CollectionError, match="g4 and 4 more"):
        evaluated(corpus, many, skip_overlap=False)
    apart = Index(corpus)
    assert evaluated(corpus, apart, skip_overlap=False).excluded_groups == ()
    assert set(apart.excluded) == {frozenset()}


def test_images_that_cannot_be_read_are_named_and_counted(corpus, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medclip"), "propagate", True)
    seen = []
    report = evaluated(corpus, model=Model(broken=(1,)), on_progress=seen.append)
    assert report.unreadable == {"drawn/val1": "broken"}
    assert len(report.rows) == len(report.images) == 5
    assert (seen[-1].done, seen[-1].total, seen[-1].failed) == (6, 6, 1)
    assert "drawn/val1: broken" in caplog.text
    with pytest.raises(CorpusError, match=r"none of the 6 images can be read \(broken\)"):
        evaluated(corpus, model=Model(broken=range(6)))


def test_a_split_or_a_pool_that_is_empty(corpus):
    with pytest.raises(CorpusError, match="no images in its test split"):
        evaluated(corpus, split="test")
    stranger = Index(corpus)
    stranger.info.corpora = {}
    with pytest.raises(CorpusError, match="holds no other case of corpus 'drawn'"):
        evaluated(corpus, stranger)


@pytest.mark.parametrize(
    ("option", "named"),
    [({"methods": ["oracle"]}, "method 'oracle'"), ({"by": ["age"]}, "field 'age'"), ({"split": "x"}, "'x'")],
)
def test_values_that_are_not_known(corpus, option, named):
    with pytest.raises(UsageError, match=named):
        evaluated(corpus, **option)


def test_methods_are_run_once_and_in_the_order_given(corpus):
    assert list(evaluated(corpus, methods=["consensus", "consensus"]).answers) == ["consensus", *BASELINES]


def test_a_run_compared_with_itself_does_not_differ_whatever_the_order_of_items(corpus, tmp_path):
    earlier = json.loads(json.dumps(evaluated(corpus).to_dict()))
    earlier["items"]["ids"].reverse()
    for table in earlier["items"]["methods"].values():
        table["bleu_counts"].reverse()
        for values in table["means"].values():
            values.reverse()
    path = tmp_path / "run.json"
    path.write_text(json.dumps(earlier), encoding="utf-8")
    found = evaluated(corpus, against=path).to_dict()["against"]
    assert found["run"] == "run.json"
    for differences in found["differences"].values():
        assert {one["p"] for one in differences.values()} == {1.0}
        assert all(abs(one["difference"]) < 1e-9 for one in differences.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run["items"]["ids"].pop(), "5 items, this run 6, of which 1 are new"),
        (lambda run: run.pop("items"), "is no run"),
        (lambda run: run["items"]["methods"]["nearest"].pop("means"), "no table of item scores"),
    ],
)
def test_runs_that_cannot_be_compared(corpus, tmp_path, change, message):
    earlier = json.loads(json.dumps(evaluated(corpus).to_dict()))
    change(earlier)
    with pytest.raises(ScoringError, match=message):
        evaluated(corpus, against=earlier)
    with pytest.raises(ScoringError, match=r"absent\.json"):
        evaluated(corpus, against=tmp_path / "absent.json")


def test_a_decoder_writes_from_the_image_and_its_neighbours(corpus, monkeypatch):
    class Captioner:
        def encode_files(self, paths, batch_size):
            for number, path in enumerate(paths):
                embedded = Embedded(number, path, np.eye(4, dtype=np.float32)[0], None)
                yield SimpleNamespace(embedded=embedded, grid=np.full((1, 2), number))

        def write(self, grids, texts, options):
            return [
                [SimpleNamespace(caption=f"{grid[0, 0]} beside {known[:1]}")]
                for grid, known in zip(grids, texts, strict=True)
            ]

    monkeypatch.setattr(models, "open_captioner", lambda path: Captioner())
    answers = evaluated(corpus, model=Model(path=corpus.path), methods=("generate",)).answers["generate"]
    assert [answer.caption for answer in answers] == [
        *(f"{number} beside [{CAPTIONS[number % 3]!r}]" for number in range(5)),
        "",
    ]
    assert answers[0].fields["modality"] == "CT"
    assert answers[5].fields == {}


def test_the_page_and_the_charts_are_written_whole(corpus, tmp_path):
    report, out = evaluated(corpus), tmp_path / "out"
    out.mkdir()
    report.write_html(out / "page.html")
    report.write_charts(out / "plots")
    assert sorted(path.name for path in out.iterdir()) == ["page.html", "plots"]
    assert (out / "page.html").stat().st_mode & 0o777 == 0o600
    page = (out / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2 * (6 + 5), "each item twice; one has no look-alike"
    assert (out / "plots" / "recall.svg").is_file()
    with pytest.raises(MedclipError, match="absent"):
        report.write_html(out / "absent" / "page.html")
