"""Draws what is in data/: run once, by the medclip of the commits that data/README.md names.

    cd CHECKOUT-OF-38604f9 && .venv/bin/python .../make_data.py OUT [CHECKOUT-OF-c0f430e]

Weights are rounded to bfloat16 before they are written, so that the archive is small.
"""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

TRAIN, HELD_OUT = 40, 12  # images of the train split, and of val and test each
SHAPE = (
    *("--preset", "tiny", "--from-scratch", "--image-size", 32, "--image-widths", "4,8"),
    *("--image-blocks", "1,1", "--text-width", 32, "--text-layers", 1, "--embedding-dim", 16),
    *("--batch-size", 20, "--no-augmentation"),
)


def main(out: Path, older: Path | None) -> None:
    out.mkdir(parents=True)
    os.chdir(out)
    os.environ["MEDCLIP_HOME"] = "home"
    draw_images()
    round_weights()
    medclip("clean", "folder", "raw", "--out", "corpus", "--copy-images", "--name", "phantoms")
    medclip("train", "encoders", "corpus", "--out", "model", *SHAPE, "--epochs", 40)
    medclip("train", "decoder", "corpus", "--model", "model", "--width", 32, "--layers", 1, "--retrieve", 2,
            "--epochs", 40)  # fmt: skip
    interrupt_a_run()
    medclip("index", "corpus", "--model", "model", "--collection", "rounded", "--split", "train")
    medclip("collections", "export", "rounded", "--out", "rounded.medclip")
    if older:
        command = ("index", "corpus", "--model", "model", "--collection", "whole", "--split", "train")
        subprocess.run([older / ".venv/bin/medclip", *command], check=True)
    image = "corpus/images/images/phantom0000.png"
    asking = ("--collection", "rounded", "--model", "model")
    answers = {
        "models show": medclip("models", "show", "model"),
        "corpus show": medclip("corpus", "show", "corpus"),
        "collections show": medclip("collections", "show", "rounded"),
        **{f"caption {m}": medclip("caption", image, "--method", m, *asking)
           for m in ("nearest", "consensus", "generate", "auto")},
        "search words": medclip("search", "coronal MR scan with a large lesion", *asking),
        "search image": medclip("search", "--image", image, "--where", "modality=CT", *asking),
        "evaluate": medclip("evaluate", "corpus", *asking, "--resamples", 50, "--no-meteor"),
    }  # fmt: skip
    write_predictions()
    answers["score"] = medclip("score", "predictions.jsonl", "--resamples", 50, "--no-meteor")
    Path("evaluation.json").write_text(json.dumps(answers["evaluate"]))
    Path("answers.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
    forget_curves(Path("model/config.json"))
    for made in ("raw", *Path("home").glob("**/*.lock")):
        shutil.rmtree(made) if Path(made).is_dir() else Path(made).unlink(missing_ok=True)


def medclip(*arguments):
    """Run a command in this process; return the JSON it prints, or None where it prints none."""
    from medclip_cli.app import app

    told, printed = [str(a) for a in arguments], io.StringIO()
    asks_for_json = told[0] not in ("clean", "train", "index") and told[:2] != ["collections", "export"]
    sys.stderr.write(f"$ medclip {' '.join(told)}\n")
    with redirect_stdout(printed):
        code = app(told + ["--json"] * asks_for_json, standalone_mode=False)
    assert code in (None, 0, 130), code
    return json.loads(printed.getvalue()) if asks_for_json else None


def draw_images() -> None:
    """Draw the data set; the table says which split an image is of."""
    from medclip_cli.phantoms.dataset import draw_dataset

    table = draw_dataset(Path("raw"), images=TRAIN + 2 * HELD_OUT, side_pixels=32)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    splits = ["train"] * TRAIN + ["val"] * HELD_OUT + ["test"] * HELD_OUT
    with table.open("w") as file:
        writer = csv.DictWriter(file, [*rows[0], "split"])
        writer.writeheader()
        writer.writerows({**row, "split": split} for row, split in zip(rows, splits, strict=True))


def round_weights() -> None:
    """Round every weight just before it is written, wherever it goes."""
    from trainers import captioning, contrastive

    def rounding(function, which):
        def rounded(*arguments, **named):
            for part in arguments[which].parameters():
                part.data = part.data.bfloat16().float()
            return function(*arguments, **named)

        return rounded

    contrastive.save_bundle = rounding(contrastive.save_bundle, 1)
    captioning.decoder_files = rounding(captioning.decoder_files, 0)


def interrupt_a_run() -> None:
    """Leave a run as Ctrl-C after its third checkpoint leaves it, its tensors made easy to compress."""
    import torch

    from trainers import training_run

    write, calls = training_run.write_checkpoint, []

    def interrupted(*arguments):
        write(*arguments)
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    training_run.write_checkpoint = interrupted
    medclip("train", "encoders", "corpus", "--out", "half", *SHAPE, "--epochs", 4, "--checkpoint-steps", 1,
            "--no-confidence")  # fmt: skip
    training_run.write_checkpoint = write
    shutil.rmtree("half", ignore_errors=True)

    def coarse(value):
        """Keep three bits of the mantissa."""
        mantissa, exponent = torch.frexp(value)
        return torch.ldexp((mantissa * 8).round() / 8, exponent)

    def small(value):
        if isinstance(value, torch.Tensor):
            return coarse(value) if value.dtype == torch.float32 else value
        if isinstance(value, dict):
            return {key: small(torch.zeros_like(part) if key in ("exp_avg", "exp_avg_sq") else part)
                    for key, part in value.items()}  # fmt: skip
        return type(value)(map(small, value)) if isinstance(value, list | tuple) else value

    checkpoint = Path("half.training/checkpoint.pt")
    torch.save(small(torch.load(checkpoint, weights_only=True)), checkpoint)


def forget_curves(config: Path) -> None:
    """Take the pictures of the training curves out of the model: they are large, and nothing reads them."""
    content = json.loads(config.read_text())
    for name in ("curves.png", "decoder-curves.png"):
        del content["files"][name]
        (config.parent / name).unlink()
    config.write_text(json.dumps(content, indent=2) + "\n")


def write_predictions() -> None:
    """Write predictions for `score`: each caption of the table beside the next one's."""
    with Path("raw/captions.csv").open() as file:
        captions = [row["caption"] for row in csv.DictReader(file)][:HELD_OUT]
    with Path("predictions.jsonl").open("w") as file:
        for number, (said, true) in enumerate(zip(captions[1:], captions, strict=False)):
            row = {"id": str(number), "prediction": said, "references": [true]}
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None)
