"""Caption scores against pycocoevalcap: the same numbers, how much sooner, in how much memory.

    python -m benchmarks.bench_score [--pairs 1000 20000] [--runs 5] [--golden FOLDER]

It needs pycocoevalcap and a Java (``pip install 'medclip-cli[meteor]'``); else only our side runs.
Both sides are processes of their own that read the same captions and give BLEU, ROUGE-L and CIDEr; the time
is that of tokenizing and scoring, without the imports of either side. With a folder of golden sets
(``set_*.jsonl`` beside ``set_*.golden.json``) both sides are also held to what is written there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.timing import Comparison, Row, record

Scorer = Callable[[list[dict[str, Any]]], dict[str, float]]
SCORES = {"bleu1": "Bleu_1", "bleu4": "Bleu_4", "rouge_l": "ROUGE_L", "cider": "CIDEr"}
GOLDEN_NAMES = {"bleu1": "BLEU-1", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "cider": "CIDEr"}
AIM = 1 / 6
THEIRS = "pycocoevalcap 1.2"
START_AIM_SECONDS = 0.3
TOLERANCE = 1e-6
_WORDS = (
    "axial sagittal coronal ct mr scan of the brain chest spine abdomen shows a large small mass nodule "
    "effusion with without edema in left right upper lower lobe no evidence of fracture T1-weighted "
    "contrast-enhanced (arrow) 3.5-cm Crohn's disease, patient's 45-year-old male female depicting grade 3/4 "
    "glioma."
).split()


def main() -> None:
    """Time both sides, or be one of them."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, nargs="+", default=[1_000, 20_000])
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--side", choices=["ours", "theirs"])
    arguments.add_argument("--file", type=Path)
    arguments.add_argument("--golden", type=Path, help="A folder of captions with their reference scores.")
    given = arguments.parse_args()
    if given.side:
        print(json.dumps(_score(given.side, given.file)))
        return
    if given.golden:
        _hold_to_golden(given.golden)
    _time_start(given.runs)
    for pairs in given.pairs:
        _compare(pairs, given.runs)


def _compare(pairs: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in _draw(pairs)), encoding="utf-8")
        if find_spec("pycocoevalcap") is None or _java() is None:
            print(f"{pairs} pairs: {_run('ours', file)} (no pycocoevalcap or no Java here to compare with)")
            return
        # In turn, so that a machine that slows down slows both sides.
        answers = [(_run("ours", file), _run("theirs", file)) for _ in range(runs)]
    seconds = [[answer["seconds"] for answer in side] for side in zip(*answers, strict=True)]
    record(Comparison(f"BLEU, ROUGE-L and CIDEr of {pairs:,} captions / {THEIRS}", *seconds, aim=AIM))
    ours, theirs = answers[-1]
    differ = max(abs(ours[name] - theirs[name]) for name in SCORES)
    record(Row(f"largest difference of a score of {pairs:,}", differ, TOLERANCE, THEIRS))
    sides = [f"{side['megabytes']:.0f} MB" for side in (ours, theirs)]
    ratio = ours["megabytes"] / theirs["megabytes"]
    record(Row(f"peak memory of scoring {pairs:,}", ratio, 1.0, THEIRS, *sides))


def _hold_to_golden(folder: Path) -> None:
    """Print how far our corpus scores, and pycocoevalcap's where it is there, lie from the golden ones."""
    for captions in sorted(folder.glob("set_*.jsonl")):
        reference = captions.with_name(f"{captions.stem}.golden.json")
        if not reference.is_file():
            continue
        golden = json.loads(reference.read_text(encoding="utf-8"))["corpus"]
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "captions.jsonl"
            file.write_text(_on_one_line(captions.read_text(encoding="utf-8")), encoding="utf-8")
            sides = ["ours"] if find_spec("pycocoevalcap") is None or _java() is None else ["ours", "theirs"]
            for side in sides:
                found = _run(side, file)
                differ = max(abs(found[name] - golden[label]) for name, label in GOLDEN_NAMES.items())
                record(Row(f"{captions.stem}, {side}", differ, TOLERANCE, "golden scores"))


def _on_one_line(records: str) -> str:
    """Replace the line breaks within captions, which shift every later caption in pycocoevalcap."""
    blank = dict.fromkeys(map(ord, "\r\n\v\f\u2028\u2029"), " ")
    cleaned = []
    for line in records.split("\n"):
        if line:
            record = json.loads(line)
            record["prediction"] = record["prediction"].translate(blank)
            record["references"] = [text.translate(blank) for text in record["references"]]
            cleaned.append(json.dumps(record) + "\n")
    return "".join(cleaned)


def _time_start(runs: int) -> None:
    """How long `medclip score` takes on one caption, from start to exit."""
    records = json.dumps({"id": "a", "prediction": "a mass", "references": ["a mass"]})
    command = [sys.executable, "-m", "medclip_cli", "score", "-", "--json", "--no-meteor", "--quiet"]
    seconds = []
    for _ in range(runs):
        before = os.times()
        subprocess.run(command, input=records, text=True, check=True, stdout=subprocess.DEVNULL)
        seconds.append(os.times().elapsed - before.elapsed)
    median = statistics.median(seconds)
    record(Row("medclip score of one caption, start to exit", median, START_AIM_SECONDS, unit="s"))


def _run(side: str, file: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_score", "--side", side, "--file", str(file)]
    java = _java()
    path = os.pathsep.join(filter(None, [str(java.parent) if java else "", os.environ.get("PATH", "")]))
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _java() -> Path | None:
    from medclip_cli.scoring.meteor import find_meteor

    program = find_meteor()
    return program.java if program else None


def _score(side: str, file: Path) -> dict[str, float]:
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    score = _our_scorer() if side == "ours" else _their_scorer()
    start = time.perf_counter()
    scores = score(records)
    seconds = time.perf_counter() - start
    own, children = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {**scores, "seconds": seconds, "megabytes": max(own, children) / 1024}


def _our_scorer() -> Scorer:
    from medclip_cli.scoring.captions import score_captions

    return lambda records: (
        score_captions(
            [record["prediction"] for record in records], [record["references"] for record in records]
        ).corpus
    )


def _their_scorer() -> Scorer:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    def score(records: list[dict[str, Any]]) -> dict[str, float]:
        tokenize = PTBTokenizer().tokenize
        truth = tokenize({r["id"]: [{"caption": text} for text in r["references"]] for r in records})
        guess = tokenize({r["id"]: [{"caption": r["prediction"]}] for r in records})
        bleu, _ = Bleu(4).compute_score(truth, guess, verbose=0)
        found = {f"Bleu_{order}": value for order, value in enumerate(bleu, 1)}
        found["ROUGE_L"], _ = Rouge().compute_score(truth, guess)
        found["CIDEr"], _ = Cider().compute_score(truth, guess)
        return {ours: float(found[theirs]) for ours, theirs in SCORES.items()}

    return score


def _draw(pairs: int) -> list[dict[str, object]]:
    """Captions of 8 to 30 words, each prediction its reference with some words changed."""
    rng = random.Random(7)
    records: list[dict[str, object]] = []
    for number in range(pairs):
        truth = [rng.choice(_WORDS) for _ in range(rng.randint(8, 30))]
        guess = [rng.choice(_WORDS) if rng.random() < 0.3 else word for word in truth]
        records.append({"id": str(number), "prediction": " ".join(guess), "references": [" ".join(truth)]})
    return records


if __name__ == "__main__":
    main()
