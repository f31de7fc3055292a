"""The golden files: what pycocoevalcap 1.2 gives, corpus and item, to 1e-6."""

import json

import numpy as np
import pytest

from medclip_cli.scoring.captions import score_captions

NAMES = {
    **{f"BLEU-{order}": f"bleu{order}" for order in range(1, 5)},
    **{"ROUGE-L": "rouge_l", "ROUGE-L-P": "rouge_l_p", "ROUGE-L-R": "rouge_l_r", "CIDEr": "cider"},
}


@pytest.fixture(scope="module", params=["set_a", "set_c"])
def golden(request, shared_dir):
    folder = shared_dir / "golden"
    text = (folder / f"{request.param}.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.split("\n") if line]
    expected = json.loads((folder / f"{request.param}.golden.json").read_text(encoding="utf-8"))
    scores = score_captions([r["prediction"] for r in records], [r["references"] for r in records])
    return expected, scores


@pytest.mark.parametrize("theirs", NAMES)
def test_corpus_equals_pycocoevalcap(golden, theirs):
    expected, scores = golden
    assert scores.corpus[NAMES[theirs]] == pytest.approx(expected["corpus"][theirs], abs=1e-9)


@pytest.mark.parametrize("theirs", NAMES)
def test_every_item_equals_pycocoevalcap(golden, theirs):
    expected, scores = golden
    np.testing.assert_allclose(
        scores.items[NAMES[theirs]], [item[theirs] for item in expected["items"]], rtol=0, atol=1e-9
    )
