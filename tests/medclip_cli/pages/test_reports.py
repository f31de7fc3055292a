"""The page and the charts of an evaluation: complete, alone, escaped, and readable by a browser."""

import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from medclip_cli.pages import report_html
from medclip_cli.pages.charts import (
    COLOURS,
    Chart,
    Dot,
    Label,
    Polyline,
    Rectangle,
    evaluation_charts,
    score_chart,
    training_curves,
    write_charts,
)
from medclip_cli.pages.reports import ShownItem, evaluation_page

from .browser import Browser

NASTY = "<script>alert('x')</script> & \"quotes\""


def jpeg():
    out = io.BytesIO()
    Image.new("L", (40, 30), 120).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def report():
    scores = {"bleu1": 0.5, "bleu4": 0.2, "rouge_l": 0.4, "cider": 0.9, "distinct": 7}
    interval = {name: (0.1, 0.95) for name in ("bleu1", "bleu4", "rouge_l", "cider")}
    difference = {"bleu4": {"difference": 0.1, "interval": (0.05, 0.15), "p": 0.001}}
    direction = {
        **dict.fromkeys(("r@1", "r@5", "r@10", "chance_r@1", "chance_r@5", "chance_r@10"), 0.5),
        **{"median_rank": 2.0, "mean_rank": 3.0, "mrr": 0.4, "map": 0.3, "ndcg@10": float("nan")},
        **{"queries": 9, "pool": 9},
    }
    confusion = {"values": ["CT", NASTY], "counts": [[3, 1], [0, 5]]}
    curve = {"k": [1.0, 2.0], "recall": [0.2, 0.5], "chance": [0.1, 0.2]}
    return {
        **{"corpus": NASTY, "split": "val", "collection": NASTY, "model": NASTY, "fingerprint": "ab"},
        **{"n": 9, "pool": 30, "excluded_groups": ["a"], "unreadable": {"x": "broken"}},
        "captions": {"nearest": scores, "random": {**scores, "cider": 0.1}},
        "intervals": {"nearest": interval, "random": interval},
        "comparisons": {"random": difference},
        "fields": {"nearest": {"modality": {"n": 9, "agreement": 8 / 9, "confusion": confusion}}},
        "retrieval": {"image_to_text": direction, "text_to_image": direction},
        "recall_curve": {"image_to_text": curve, "text_to_image": curve},
        "by": {"modality": {NASTY: {"image_to_text": direction}}},
        "published": [{"name": NASTY, "scores": {"bleu1": 0.567}, "note": "published, not comparable: why"}],
        "against": {"run": NASTY, "differences": {"nearest": difference}},
        "variants": {"tokenizer": NASTY},
    }


@pytest.fixture
def page(report):
    item = ShownItem(NASTY, NASTY, NASTY, 0.5, jpeg(), jpeg())
    bare = ShownItem("id", "true", "", 0.0)
    return evaluation_page(
        report, evaluation_charts(report, [(0.1 * i, 0.05 * i) for i in range(15)]), [item], [bare]
    )


def test_the_page_is_whole_alone_and_escaped(page):
    browser = Browser(page)
    assert "script" not in browser.tags
    assert browser.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in browser.addresses)
    assert NASTY not in page
    assert NASTY in browser.text
    assert page.count("http:") == page.count("http://www.w3.org/2000/svg")


def test_the_page_says_what_it_must(page):
    for text in (
        "published, not comparable: why",
        "0.900<small>[0.100, 0.950]</small>",
        "+0.100, p = 0.001<small>[+0.050, +0.150]</small>",
        "88.9% right",
        "no answer",
        "not a medical device",
        "1 cases were left out",
        "1 images could not be read",
        "<figcaption>Recall at k</figcaption>",
        "<figcaption>Score against confidence</figcaption>",
    ):
        assert text in page, text


def test_a_fragment_holds_the_tables_alone(report):
    browser = Browser(report_html(report))
    assert browser.tags.count("table") == 3
    assert "0.900[0.100, 0.950]" in browser.text
    assert not {"html", "body", "svg"} & set(browser.tags)


def test_a_report_without_intervals_and_tests_is_shown(report):
    report["intervals"], report["comparisons"], report["by"] = {}, {}, {}
    del report["against"]
    page = evaluation_page(report, evaluation_charts(report, []), [], [])
    assert "Differences" not in page
    assert "Score against confidence" not in page
    assert "Best" not in page


def test_charts_are_written_as_svg_and_png(report, tmp_path):
    charts = evaluation_charts(report, [(0.5, 0.5)])
    write_charts(tmp_path / "plots", charts)
    assert sorted(path.stem for path in (tmp_path / "plots").glob("*.svg")) == sorted(charts)
    for path in (tmp_path / "plots").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root.get("aria-label") == charts[path.stem].title
    for path in (tmp_path / "plots").glob("*.png"):
        with Image.open(path) as image:
            assert image.size == (2 * charts[path.stem].width, 2 * charts[path.stem].height)
            assert len(image.getcolors(1 << 20)) > 3


def test_bars_are_as_long_as_their_values(report):
    bars = [shape for shape in score_chart(report, "cider").shapes if isinstance(shape, Rectangle)]
    assert bars[0].width == pytest.approx(9 * bars[1].width)
    assert [bar.role for bar in bars] == ["ours", "baseline"]


def test_every_shape_is_drawn_in_the_colour_of_its_role():
    shapes = [
        Rectangle(0, 0, 10, 10, "ours", "tip <"),
        Polyline([(20, 5), (40, 5)], "other", dashed=True, width=4),
        Dot(60, 10, "upper_bound"),
        Label(5, 30, "words &", role="ink"),
    ]
    chart = Chart("all", 80, 40, shapes)
    assert "tip &lt;" in chart.svg()
    assert "words &amp;" in chart.svg()
    with Image.open(io.BytesIO(chart.png())) as image:
        drawn = {image.getpixel((10, 10)), image.getpixel((60, 10)), image.getpixel((120, 20))}
    assert drawn == {tuple(bytes.fromhex(COLOURS[role][1:])) for role in ("ours", "other", "upper_bound")}
    themed = chart.svg(themed=True)
    assert "#" not in themed
    assert 'class="f-ours"' in themed


def journal(losses, **worth):
    epochs = [{"event": "epoch", "loss": loss, **worth} for loss in losses]
    return "\n".join(json.dumps(event) for event in ({"event": "start"}, *epochs)).encode()


RECALL = {"validation": {name: {"r1": 0.1, "r10": 0.5} for name in ("image_to_text", "text_to_image")}}


def curves_of(*arguments, **worth):
    with Image.open(io.BytesIO(training_curves(journal(*arguments, **worth)))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return pixels[: len(pixels) // 2, :700], pixels[len(pixels) // 2 :, :700]


def drawn_in(role, pixels):
    return np.nonzero((pixels == list(bytes.fromhex(COLOURS[role][1:]))).all(axis=2))


def test_the_loss_falls_from_the_upper_left_to_the_lower_right():
    upper, lower = curves_of([4.0, 3.0, 2.0, 1.0], **RECALL)
    rows, columns = drawn_in("ours", upper)
    assert rows[columns.argmin()] < rows[columns.argmax()] - 50
    assert drawn_in("other", lower)[0].size, "the lines coincide: the last are on top"
    assert drawn_in("baseline", lower)[0].size


@pytest.mark.parametrize("losses", [[], [2.0]])
@pytest.mark.parametrize("worth", [RECALL, {"scores": {"bleu4": 0.1, "rouge_l": 0.2, "cider": 0.0}}])
def test_a_run_of_no_or_one_epoch_has_curves_too(losses, worth):
    upper, _ = curves_of(losses, **worth)
    assert bool(drawn_in("ours", upper)[0].size) == bool(losses)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_opens_it(page, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: install the package chromium to open the page in a browser")
    path, shot = tmp_path / "page.html", tmp_path / "shot.png"
    path.write_text(page, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    ).split()
    subprocess.run(
        [
            *(browser, *flags, f"--user-data-dir={tmp_path / 'profile'}"),
            *(f"--screenshot={shot}", f"--window-size={width},900", path.as_uri()),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(shot) as image:
        assert image.width == width
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
