"""Every file that medclip reads besides images: data, settings, models, collections, corpora, archives."""

import hashlib
import json
import os
import shutil

from tests.medclip_cli.robustness.damage import HOSTILE_TEXTS, damage, damage_head, damage_json
from tests.medclip_cli.robustness.running import PATIENT_WORD, Case

ASK = ("--collection", "phantoms")
ROWS = [
    {
        "id": f"scan{n}",
        "prediction": f"{PATIENT_WORD}: axial CT of the chest with a nodule {n}",
        "references": [f"axial CT showing {n} nodules", f"chest CT of {PATIENT_WORD}"],
    }
    for n in range(6)
]
CSV_ROWS = "id,prediction,references\n" + "".join(
    f'scan{n},"axial CT, {PATIENT_WORD} {n}","[""a CT of the chest"", ""chest {n}""]"\n' for n in range(6)
)
COCO = {
    "images": [{"id": n} for n in range(4)],
    "annotations": [{"id": n, "image_id": n, "caption": f"film of {PATIENT_WORD} {n}"} for n in range(4)],
}
COCO_RESULTS = [{"image_id": n, "caption": f"{PATIENT_WORD} film {n}"} for n in range(4)]
SETTINGS = """home = "data"
collection = "phantoms"
model = "model"
lock_timeout_seconds = 2.5
qdrant_url = "http://localhost:6333"
"""
VALUES = (
    '"other"',
    "1",
    "true",
    "[]",
    "{}",
    "nan",
    "inf",
    "-1",
    "1979-05-27",
    "'''\n\x1b[2J'''",
    '"""a\nb"""',
)


def prediction_cases(demo, folder, rng, count):
    """Predictions, references and findings, in every format that is read."""
    seeds = {
        "jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
        "json": json.dumps(ROWS).encode(),
        "csv": CSV_ROWS.encode(),
    }
    good = folder / "good.jsonl"
    good.write_bytes(seeds["jsonl"])
    results = folder / "results.json"
    results.write_text(json.dumps(COCO_RESULTS))
    for number in range(count):
        kind = rng.choice(list(seeds))
        path = folder / f"{number}.{kind}"
        path.write_bytes(damage_json(ROWS, rng) if kind == "json" else _damage_rows(seeds[kind], kind, rng))
        end = ("--resamples", "0", "--no-meteor", "--json", "-q")
        other = ("--clinical",) if rng.random() < 0.2 else ("--tokenize", rng.choice(("ptb", "none", "13a")))
        way = rng.random()
        if way < 0.6:
            yield Case(f"predictions {path.name}", ("score", str(path), *other, *end), codes=(0, 1, 3))
        elif way < 0.75:
            yield Case(
                f"stdin {path.name}", ("score", "-", *other, *end), stdin=path.read_bytes(), codes=(0, 1, 3)
            )
        elif way < 0.9:
            path.write_bytes(damage_json(COCO, rng))
            arguments = ("score", str(results), "--references", str(path), *end)
            yield Case(f"references {path.name}", arguments, codes=(0, 1, 3))
        else:
            arguments = ("score", str(good), "--findings", str(path), *end)
            yield Case(f"findings {path.name}", arguments, codes=(0, 1, 3))


def _damage_rows(data, kind, rng):
    if kind == "jsonl" and rng.random() < 0.6:
        lines = [damage_json(row, rng) if rng.random() < 0.3 else json.dumps(row).encode() for row in ROWS]
        return b"\n".join(lines)
    if kind == "csv" and rng.random() < 0.5:
        text = rng.choice(HOSTILE_TEXTS)
        cell = data.decode().replace("scan2", text, 1).replace(f"{PATIENT_WORD} 3", text, 1)
        return cell.encode("utf-8", "surrogatepass")
    return damage(data, rng)


def table_cases(demo, folder, rng, count):
    """Tables of captions beside images: CSV, TSV, JSON and JSON Lines."""
    shutil.copy(demo.scan, folder / "good.png")
    rows = [{"image": "good.png", "caption": f"axial CT of {PATIENT_WORD}, case {n}"} for n in range(5)]
    csv = "image,caption,patient\n" + "".join(f'good.png,"{PATIENT_WORD}, {n}",P{n}\n' for n in range(5))
    for number in range(count):
        kind = rng.choice(("csv", "tsv", "jsonl", "json"))
        path = folder / f"table{number}.{kind}"
        if kind in ("csv", "tsv"):
            data = _damage_rows(csv.replace(",", "\t" if kind == "tsv" else ",").encode(), "csv", rng)
            data = data.replace(
                b"good.png", rng.choice(HOSTILE_TEXTS).encode("utf-8", "surrogatepass"), rng.choice((0, 0, 1))
            )
        elif kind == "json":
            data = damage_json(rows, rng)
        else:
            data = b"\n".join(damage_json(row, rng) for row in rows)
        path.write_bytes(data)
        arguments = (
            "clean",
            "folder",
            str(folder),
            "--captions",
            str(path),
            "--json",
            "-q",
            "--threads",
            "1",
        )
        out = ("--dry-run",) if rng.random() < 0.7 else ("--out", str(folder / "corpus"), "--force")
        yield Case(f"table {path.name}", (*arguments, *out))


def settings_cases(demo, folder, rng, count):
    """The settings file, the variables, and the names they give."""
    home = folder / "medclip"
    home.mkdir()
    for number in range(count):
        line = rng.choice(SETTINGS.splitlines())
        changed = SETTINGS.replace(line, f"{line.split(' =')[0]} = {rng.choice(VALUES)}")
        kept = "".join(f"{line}\n" for line in SETTINGS.splitlines() if rng.random() < 0.5)
        texts = (changed.encode(), damage(SETTINGS.encode(), rng), kept.encode())
        (home / "config.toml").write_bytes(rng.choice(texts))
        command = rng.choice((("config", "show", "--json"), ("config", "show")))
        environment = {"XDG_CONFIG_HOME": str(folder)}
        if rng.random() < 0.2:
            key = rng.choice(("HOME", "COLLECTION", "MODEL", "LOCK_TIMEOUT_SECONDS"))
            value = rng.choice(HOSTILE_TEXTS).replace("\0", "")
            environment[f"MEDCLIP_{key}"] = os.fsdecode(value.encode("utf-8", "surrogatepass"))
        yield Case(f"settings {number}", command, environment=environment)


def model_cases(demo, folder, rng, count):
    """The model folder: its description, its tokenizer, its graphs."""
    model = folder / "model"
    shutil.copytree(demo.model, model)
    for number in range(count):
        name = rng.choice(("config.json", "config.json", "tokenizer.json", "text.onnx"))
        data = (demo.model / name).read_bytes()
        broken = damage_json(json.loads(data), rng) if name == "config.json" else damage(data, rng)
        (model / name).write_bytes(broken)
        if name != "config.json":
            _vouch_for(model, name, broken)
        yield Case(
            f"model {number} {name}",
            ("search", "axial CT", "--model", str(model), "--mode", "dense", "--json", "-q", *ASK),
        )
        shutil.copy(demo.model / name, model / name)
        shutil.copy(demo.model / "config.json", model / "config.json")


def _vouch_for(model, name, data):
    """Let the model's own checksums agree with a broken file, so that it is really read."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def collection_cases(demo, folder, rng, count):
    """The files of a collection, those of the engine included."""
    source = demo.folder / "home" / "collections" / "phantoms"
    home = folder / "home"
    target = home / "collections" / "phantoms"
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    small = [path for path in files if path.suffix == ".json" or (source / path).stat().st_size < 10_000]
    for number in range(count):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(source, target)
        path = target / ("collection.json" if rng.random() < 0.4 else rng.choice(small))
        data = path.read_bytes()
        if path.suffix == ".json":
            path.write_bytes(damage_json(json.loads(data), rng))
        else:
            path.write_bytes(damage(data, rng))
        command = rng.choice(
            (
                ("search", "axial CT", "--mode", rng.choice(("words", "dense")), *ASK),
                ("collections", "show", "phantoms"),
                ("collections", "list"),
                ("collections", "verify", "phantoms"),
            )
        )
        name = f"collection {number} {path.relative_to(target)} {command[0]} {command[1]}"
        yield Case(name, (*command, "--json", "-q"), environment={"MEDCLIP_HOME": str(home)})


def archive_cases(demo, folder, rng, count):
    """A collection in one file, as it arrives from another machine."""
    home, whole = folder / "home", folder / "whole.medclip"
    yield Case("export", ("collections", "export", "phantoms", "--out", str(whole), "-q"))
    for number in range(count):
        path = folder / f"{number}.medclip"
        path.write_bytes(rng.choice((damage, damage_head))(whole.read_bytes(), rng))
        yield Case(
            f"archive {number}",
            ("collections", "import", str(path), "--force", "--json", "-q"),
            environment={"MEDCLIP_HOME": str(home)},
        )
        path.unlink()


def corpus_cases(demo, folder, rng, count):
    """A corpus folder, its table and its report."""
    corpus = folder / "corpus"
    shutil.copytree(demo.corpus, corpus)
    for number in range(count):
        name = rng.choice(("report.json", "corpus.parquet"))
        data = (demo.corpus / name).read_bytes()
        broken = damage_json(json.loads(data), rng) if name == "report.json" else damage(data, rng)
        (corpus / name).write_bytes(broken)
        command = rng.choice(
            (
                ("corpus", "show", str(corpus), "--json"),
                ("corpus", "export", str(corpus), "--format", "csv"),
                ("index", str(corpus), "--model", str(demo.model), "--dry-run", "--json", *ASK),
                ("evaluate", str(corpus), "--resamples", "0", "--no-meteor", "--json", *ASK),
            )
            if number % 10 == 0
            else (("corpus", "show", str(corpus), "--json"), ("corpus", "export", str(corpus)))
        )
        yield Case(f"corpus {number} {name} {command[0]}", (*command, "-q"))
        shutil.copy(demo.corpus / name, corpus / name)


def shard_cases(demo, folder, rng, count):
    """WebDataset shards of somebody else."""
    shards, out = folder / "shards", folder / "out"
    export = ("corpus", "export", str(demo.corpus), "--format", "webdataset", "--split", "val")
    yield Case("shards", (*export, "--out", str(shards), "-q"))
    whole = (shards / "val-000000.tar").read_bytes()
    for number in range(count):
        (shards / "val-000000.tar").write_bytes(damage(whole, rng))
        yield Case(
            f"shard {number}", ("clean", "webdataset", str(shards), "--out", str(out), "--force", "-q")
        )
        shutil.rmtree(out, ignore_errors=True)
