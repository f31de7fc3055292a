"""An index run: beside the bare forward passes, once more with nothing changed, and its memory.

Model and scans are drawn: a base-size model (ResNet-50 and BERT-base), JPEGs of 512 pixels and captions that
all differ. Memory is measured with a small model and small scans, so that the rows are what grows. Embedding
is measured on a GPU where there is one.

    python -m benchmarks.bench_index_run [--runs 5] [--scans 1000] [--only cpu|gpu|again|memory]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drawn_base import IMAGE_SIDE, base_model, draw_scans, save_random_model
from benchmarks.drawn_points import draw_record
from benchmarks.timing import Comparison, Row, compare, record
from encoders.bundle import ModelBundle
from encoders.preprocessing import load_image, normalize_image
from encoders.runtime import OnnxEncoder
from medclip_cli.corpora.corpus_folder import write_corpus
from medclip_cli.models import load_model
from medclip_cli.vector_index.base import CollectionSpec
from medclip_cli.vector_index.edge_writer import create_writer
from medclip_cli.vector_index.sync import Task, embed_into

FOLDER = Path("work/bench")
BATCH = 32
EMBEDDED = 96
EMBEDDED_ON_GPU = 2_048
FEW, MANY = 2_000, 20_000
SMALL_SIDE = 64


def main() -> None:
    """Record every claim."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--scans", type=int, default=1_000, help="of the run that is done once more")
    arguments.add_argument("--only", choices=("cpu", "gpu", "again", "memory"))
    given = arguments.parse_args()
    wanted = {given.only} if given.only else {"gpu" if has_gpu() else "cpu", "again", "memory"}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        if "cpu" in wanted:
            record(embedding(Path(folder), _scans(EMBEDDED), given.runs))
        if "gpu" in wanted:
            record(embedding_on_gpu(Path(folder), _scans(EMBEDDED_ON_GPU), given.runs))
        if "again" in wanted:
            record(once_more(Path(folder), _scans(given.scans), given.runs))
        for row in memory(Path(folder)) if "memory" in wanted else ():
            record(row)


def _scans(count: int) -> list[Path]:
    return draw_scans(FOLDER / f"index-scans-{count}", count)


def embedding(folder: Path, scans: Sequence[Path], runs: int) -> Comparison:
    """Compare embedding and storing scans and captions with the bare passes of both graphs.

    The other side has its pixels and captions ready, in batches of the same size.
    """
    path = base_model(FOLDER)
    model, bare = load_model(path, for_many=True), OnnxEncoder(ModelBundle.open(path))
    tasks = [Task(draw_record(number), scan, f"{number:016x}") for number, scan in enumerate(scans)]
    captions = sorted((task.record.caption for task in tasks), key=len)
    pixels = np.stack([normalize_image(load_image(scan, bare.image_spec), bare.image_spec) for scan in scans])
    spec = CollectionSpec(model.dim, model.fingerprint, model.name, str(path), 12.0)
    number = iter(range(1_000))

    def ours() -> None:
        with create_writer(folder / "home", f"run{next(number)}", spec) as writer:
            embed_into(writer, "drawn", tasks, model, batch_size=BATCH)

    def theirs() -> None:
        for start in range(0, len(scans), BATCH):
            bare.embed_pixels(pixels[start : start + BATCH])
            bare.embed_texts(captions[start : start + BATCH])

    claim = (
        f"index of {len(scans)} JPEGs of {IMAGE_SIDE} px with captions, base-size model, CPU / "
        "bare ONNX Runtime passes of both, tensors ready"
    )
    return compare(claim, ours, theirs, aim=1 / 0.9, runs=runs)


def embedding_on_gpu(folder: Path, scans: Sequence[Path], runs: int) -> Row:
    """Compare embedding and storing with the bare bfloat16 passes of both towers, tensors on the GPU."""
    import torch

    from encoders.dual import load_dual_encoder
    from encoders.preprocessing import CaptionTokenizer

    path = base_model(FOLDER)
    bundle, model = ModelBundle.open(path), load_model(path, for_many=True)
    spec = CollectionSpec(model.dim, model.fingerprint, model.name, str(path), 12.0)
    tasks = [Task(draw_record(number), scan, f"{number:016x}") for number, scan in enumerate(scans)]
    towers = load_dual_encoder(bundle).to("cuda", memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    tokenizer = CaptionTokenizer.from_bytes(bundle.read_verified("tokenizer.json"))
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(
            list(
                pool.map(
                    lambda scan: normalize_image(load_image(scan, bundle.config.image), bundle.config.image),
                    scans,
                )
            )
        )
    starts = range(0, len(scans), model.batch_size)
    batches = [torch.from_numpy(pixels[start : start + model.batch_size]).cuda() for start in starts]
    batches = [batch.to(memory_format=torch.channels_last) for batch in batches]
    captions = sorted((task.record.caption for task in tasks), key=len)
    tokens = [
        [torch.from_numpy(part).cuda() for part in tokenizer(captions[start : start + model.batch_size])]
        for start in starts
    ]
    number = iter(range(1_000))

    def ours() -> None:
        with create_writer(folder / "home", f"gpu{next(number)}", spec) as writer:
            embed_into(writer, "drawn", tasks, model)

    def theirs() -> None:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            for images, texts in zip(batches, tokens, strict=True):
                towers.embed_images(images)
                towers.embed_texts(*texts)
        torch.cuda.synchronize()

    claim = (
        f"index of {len(scans):,} JPEGs of {IMAGE_SIDE} px with captions, base-size model, GPU / "
        f"bare bf16 passes of both, batches of {model.batch_size}, tensors ready"
    )
    found = compare(claim, ours, theirs, aim=1 / 0.8, runs=runs)
    rates = [f"{len(scans) / statistics.median(side):,.0f} pairs/s" for side in (found.ours, found.theirs)]
    return replace(found.row, ours=rates[0], theirs=rates[1])


def has_gpu() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


def once_more(folder: Path, scans: Sequence[Path], runs: int) -> Row:
    """Compare `medclip index` with nothing changed with the first time, both from start to exit."""
    corpus = _write(folder / "corpus", scans)
    command = ["index", corpus, "--model", base_model(FOLDER), "--collection", "again"]
    first, _ = _medclip(folder, *command)
    again = [_medclip(folder, *command)[0] for _ in range(runs)]
    return Row(
        f"medclip index of {len(scans):,} scans again, nothing changed, start to exit",
        statistics.median(again) / first,
        aim=0.02,
        against="the first time",
        ours=f"{statistics.median(again):.2f} s",
        theirs=f"{first:.1f} s",
    )


def memory(folder: Path) -> list[Row]:
    """Compare the peak memory of index runs over many and over few records.

    The collection's own files are mapped into memory as they are written; the system takes those pages back
    when others need the room. So the peak is given without them, and with them.
    """
    model = save_random_model(FOLDER / "small-model", "tiny", image_size=SMALL_SIDE)
    peaks = []
    for count in (FEW, MANY):
        corpus = _write(folder / f"corpus{count}", _draw_small(folder / f"small{count}", count))
        name = f"memory{count}"
        peaks.append(_medclip(folder, "index", corpus, "--model", model, "--collection", name)[1])
    few, many = peaks
    what = f"peak memory of medclip index, {MANY:,} scans"
    return [
        _growth(f"{what}, mapped files aside", few.own, many.own),
        _growth(f"{what}, mapped files and all", few.resident, many.resident),
    ]


def _growth(what: str, few: int, many: int) -> Row:
    ours, theirs = (f"{peak / 1024:.0f} MiB" for peak in (many, few))
    return Row(what, many / few, aim=1.2, against=f"{FEW:,} scans", ours=ours, theirs=theirs)


def _write(path: Path, scans: Sequence[Path]) -> Path:
    records = [
        replace(draw_record(number), image=scan.name, sha256=f"{number:064x}")
        for number, scan in enumerate(scans)
    ]
    root = scans[0].parent
    options = {"caption_style": "report", "rejected": (), "report": {}}
    write_corpus(path, name=path.name, image_root=root, records=records, **options)  # type: ignore[arg-type]
    return path


def _draw_small(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (2 * SMALL_SIDE, 2 * SMALL_SIDE), dtype=np.uint8)
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(np.roll(noise, number, (0, 1))[:SMALL_SIDE, :SMALL_SIDE]).save(path, compress_level=1)
    return paths


@dataclass(frozen=True, slots=True)
class Peak:
    """The most memory that a process held at once, in KiB.

    Attributes:
        own: what belongs to it alone.
        resident: with the pages of files that it has mapped.
    """

    own: int = 0
    resident: int = 0

    def or_now(self, pid: int) -> Peak:
        """Return the larger of this and what a process holds now; itself once that is gone."""
        with suppress(OSError, KeyError):  # gone, or going
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            facts = dict(line.split(":", 1) for line in lines)
            own, resident = (int(facts[name].split()[0]) for name in ("RssAnon", "VmHWM"))
            return Peak(max(self.own, own), max(self.resident, resident))
        return self


def _medclip(folder: Path, *arguments: object) -> tuple[float, Peak]:
    """Run medclip and return its seconds and its peak memory."""
    command = [sys.executable, "-m", "medclip_cli", *map(str, arguments), "--quiet"]
    env = {**os.environ, "MEDCLIP_HOME": str(folder / "home")}
    start, peak = time.perf_counter(), Peak()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    # Not ru_maxrss, which a process inherits from the one that started it.
    while process.poll() is None:
        peak = peak.or_now(process.pid)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - start, peak


if __name__ == "__main__":
    main()
