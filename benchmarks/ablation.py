"""The ablation table of docs/quality.md: one change to the recipe a row, all trained for the same time.

`python -m benchmarks.ablation CORPUS --out FOLDER --minutes 5` trains, indexes and judges every row with the
commands of medclip and prints the table; a row whose results are in FOLDER already is not trained again.
`--only` names rows, and `--text-model` a folder with a pretrained text tower for the row that needs one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGE = (
    *("--image-size", "128", "--image-widths", "64,128,256,512", "--image-blocks", "2,2,2,2"),
    *("--text-width", "256", "--text-layers", "4", "--embedding-dim", "256"),
)
ROWS: dict[str, tuple[str, ...]] = {
    "tiny": (),
    "no-label-heads": ("--label-weight", "0"),
    "captions-and-cases": ("--label-weight", "0", "--label-agreement", "0"),
    "infonce": ("--label-weight", "0", "--loss", "infonce", "--label-agreement", "0"),
    "original": ("--preset", "original"),
    "pretrained-text": ("--freeze", "text"),
    "two-views": ("--view-weight", "0.5"),
    "images-first": ("--image-epochs", "15"),
    "no-augmentation": ("--no-augmentation",),
    "augmented-twice": ("--augment-strength", "2"),
    "ema": ("--ema", "0.98"),
    "128-px": ("--image-size", "128"),
    "wide": ("--image-size", "112", "--image-widths", "48,96,192", "--image-blocks", "1,2,2"),
    "sigmoid": ("--label-weight", "0", "--loss", "sigmoid", "--label-agreement", "0"),
    "soft": ("--label-weight", "0", "--loss", "soft", "--label-agreement", "0"),
    "256-dimensions": ("--embedding-dim", "256"),
    "batch-256": ("--batch-size", "256"),
    # Worth a GPU's while.
    "large": LARGE,
    "large-views": (*LARGE, "--view-weight", "0.5"),
    "large-160-px": (*LARGE, "--image-size", "160"),
    "large-ema": (*LARGE, "--ema", "0.995", "--augment-strength", "1.5"),
    # How much a seed says.
    "seed-1": ("--seed", "1", "--epochs", "200"),
    "seed-2": ("--seed", "2", "--epochs", "200"),
    "seed-3": ("--seed", "3", "--epochs", "200"),
}
BASELINES = {
    "random": "a random caption",
    "pixel_nearest": "nearest by 32 x 32 grey pixels",
    "same_fields_oracle": "random, true modality, view and region (upper bound)",
}
METHODS = ("nearest", "consensus")
SCORES = ("bleu4", "rouge_l", "cider")
HEAD = """\
| change | epochs | R@1/5/10 image to text | median | R@1/5/10 text to image | median \
| nearest: BLEU-4 / ROUGE-L / CIDEr | consensus: BLEU-4 / ROUGE-L / CIDEr | wall time |
|---|---|---|---|---|---|---|---|---|"""


def main() -> int:
    """Train what is missing, print the table of all that is there."""
    arguments = _parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in arguments.only or ROWS:
        result = arguments.out / f"{name}.json"
        if not result.exists() and (name != "pretrained-text" or arguments.text_model):
            _train_and_judge(name, result, arguments)
        if result.exists():
            rows[name] = _read(result, arguments.out / name)
    print(table(rows))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder for models and results")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of a row")
    parser.add_argument("--split", default="val", help="what is judged; the epoch is chosen on val")
    parser.add_argument("--text-model", type=Path, help="a folder of a pretrained transformers text encoder")
    parser.add_argument("--only", nargs="*", choices=list(ROWS), help="these rows alone")
    return parser.parse_args()


def command_of(name: str, arguments: argparse.Namespace) -> list[str]:
    """The training command of a row, as a person would type it."""
    changes = ROWS[name]
    if name == "pretrained-text":
        changes = (*changes, "--text-encoder", str(arguments.text_model))
    else:
        changes = (*changes, "--from-scratch")
    model = arguments.out / name
    return [
        *("train", "encoders", str(arguments.corpus), "--out", str(model), "--force"),
        *("--epochs", "1000", "--minutes", f"{arguments.minutes:g}", *changes),
    ]


def _train_and_judge(name: str, result: Path, arguments: argparse.Namespace) -> None:
    model, home = arguments.out / name, arguments.out / "home"
    train = command_of(name, arguments)
    print("medclip", " ".join(train), file=sys.stderr, flush=True)
    _medclip(home, *train)
    _medclip(home, "index", str(arguments.corpus), "--model", str(model), "--collection", name, "--rebuild")
    judged = _medclip(
        home,
        *("evaluate", str(arguments.corpus), "--model", str(model), "--collection", name),
        *("--method", "nearest", "--method", "consensus"),
        *("--split", arguments.split, "--no-meteor", "--json"),
    )
    result.write_text(judged, encoding="utf-8")


def _medclip(home: Path, *words: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "medclip_cli", *words, "--quiet"],
        env={**os.environ, "MEDCLIP_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run.stdout


def _read(result: Path, model: Path) -> dict[str, Any]:
    lines = (model / "training.jsonl").read_text(encoding="utf-8").splitlines()
    return {**json.loads(result.read_text(encoding="utf-8")), "training": json.loads(lines[-1])}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for each row, then the baselines, which are the same for all of them."""
    lines = [HEAD, *(_line(name, row) for name, row in rows.items())]
    for method, words in BASELINES.items() if rows else ():
        scores = _captions(next(iter(rows.values())), method)
        lines.append(f"| {words} | | | | | | {scores} | | |")
    return "\n".join(lines)


def _line(name: str, row: Mapping[str, Any]) -> str:
    training, retrieval = row["training"], row["retrieval"]
    changes = f"`{' '.join(ROWS[name])}`" if ROWS[name] else "none"
    cells = [changes, f"best {training['best_epoch']} of {training['epochs']}"]
    for direction in ("image_to_text", "text_to_image"):
        found = retrieval[direction]
        cells += ["/".join(_short(found[f"r@{k}"]) for k in (1, 5, 10)), f"{found['median_rank']:.0f}"]
    cells += [_captions(row, method) for method in METHODS]
    return f"| {' | '.join([*cells, _time(training['seconds'])])} |"


def _captions(row: Mapping[str, Any], method: str) -> str:
    return " / ".join(_short(row["captions"][method][score]) for score in SCORES)


def _short(share: float) -> str:
    return f"{share:.3f}".removeprefix("0")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
