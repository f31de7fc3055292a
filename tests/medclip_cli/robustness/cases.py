"""The cases, by family: each is a generator that makes the files of a case just before it is run."""

import json
import os
import random
import shutil

from tests.medclip_cli.robustness import images
from tests.medclip_cli.robustness.damage import HOSTILE_TEXTS, damage, damage_head, damage_json
from tests.medclip_cli.robustness.running import PATIENT_WORD, Case

ASK = ("--collection", "phantoms")
IMAGES_AT_ONCE = 60
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


GROUPS = ("collections", "corpus")


def image_cases(road, folder, rng, count):
    """Images of every kind, whole and broken, many to a call: the good ones among them are answered."""
    whole, broken = images.readable(), images.unreadable()
    files = [*whole.items(), *broken.items()]
    names = list(whole)
    while len(files) < count:
        name = rng.choice(names)
        breaks = rng.choice((damage, damage_head))
        files.append((f"{len(files)}_{name}", breaks(whole[name], rng)))
    for start in range(0, len(files), IMAGES_AT_ONCE):
        some = files[start : start + IMAGES_AT_ONCE]
        for name, data in some:
            (folder / name).write_bytes(data)
        paths = [os.fsencode(folder / name) for name, _ in some]
        yield Case(
            f"images {start}",
            ("caption", "-0", "-", "--json", "--quiet", "-k", "1", *ASK),
            stdin=b"\0".join(paths),
            codes=(0, 1, 3),
            inputs=len(some),
        )


def single_image_cases(road, folder, rng, count):
    """One image at a time, by the other doors: stdin, search by example, with an explanation page."""
    files = [*images.readable().items(), *images.unreadable().items()]
    for number in range(count):
        name, data = files[number % len(files)]
        if number >= len(files):
            data = damage(data, rng)
        path = folder / f"{number}_{name}"
        path.write_bytes(data)
        search = ("search", "--image", str(path), "-k", "1", *ASK)
        yield rng.choice(
            (
                Case(f"stdin {path.name}", ("caption", "--stdin-image", "--json", *ASK, "-q"), stdin=data),
                Case(f"search {path.name}", (*search, "--mode", "dense", "--json", "-q")),
                Case(
                    f"explain {path.name}",
                    ("caption", str(path), "-q", *ASK, "--explain", str(folder / "page.html")),
                ),
            )
        )


def prediction_cases(road, folder, rng, count):
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


def table_cases(road, folder, rng, count):
    """Tables of captions beside images: CSV, TSV, JSON and JSON Lines."""
    shutil.copy(road.scan, folder / "good.png")
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


def settings_cases(road, folder, rng, count):
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


def model_cases(road, folder, rng, count):
    """The model folder: its description, its tokenizer, its graphs."""
    model = folder / "model"
    shutil.copytree(road.model, model)
    for number in range(count):
        name = rng.choice(("config.json", "config.json", "tokenizer.json", "text.onnx"))
        data = (road.model / name).read_bytes()
        broken = damage_json(json.loads(data), rng) if name == "config.json" else damage(data, rng)
        (model / name).write_bytes(broken)
        if name != "config.json":
            _vouch_for(model, name, broken)
        yield Case(
            f"model {number} {name}",
            ("search", "axial CT", "--model", str(model), "--mode", "dense", "--json", "-q", *ASK),
        )
        shutil.copy(road.model / name, model / name)
        shutil.copy(road.model / "config.json", model / "config.json")


def _vouch_for(model, name, data):
    """Let the model's own checksums agree with a broken file, so that it is really read."""
    import hashlib

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def collection_cases(road, folder, rng, count):
    """The files of a collection, those of the engine included."""
    source = road.folder / "home" / "collections" / "phantoms"
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


def archive_cases(road, folder, rng, count):
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


def corpus_cases(road, folder, rng, count):
    """A corpus folder, its table and its report."""
    corpus = folder / "corpus"
    shutil.copytree(road.corpus, corpus)
    for number in range(count):
        name = rng.choice(("report.json", "corpus.parquet"))
        data = (road.corpus / name).read_bytes()
        broken = damage_json(json.loads(data), rng) if name == "report.json" else damage(data, rng)
        (corpus / name).write_bytes(broken)
        command = rng.choice(
            (
                ("corpus", "show", str(corpus), "--json"),
                ("corpus", "export", str(corpus), "--format", "csv"),
                ("index", str(corpus), "--model", str(road.model), "--dry-run", "--json", *ASK),
                ("evaluate", str(corpus), "--resamples", "0", "--no-meteor", "--json", *ASK),
            )
            if number % 10 == 0
            else (("corpus", "show", str(corpus), "--json"), ("corpus", "export", str(corpus)))
        )
        yield Case(f"corpus {number} {name} {command[0]}", (*command, "-q"))
        shutil.copy(road.corpus / name, corpus / name)


def shard_cases(road, folder, rng, count):
    """WebDataset shards of somebody else."""
    shards, out = folder / "shards", folder / "out"
    export = ("corpus", "export", str(road.corpus), "--format", "webdataset", "--split", "val")
    yield Case("shards", (*export, "--out", str(shards), "-q"))
    whole = (shards / "val-000000.tar").read_bytes()
    for number in range(count):
        (shards / "val-000000.tar").write_bytes(damage(whole, rng))
        yield Case(
            f"shard {number}", ("clean", "webdataset", str(shards), "--out", str(out), "--force", "-q")
        )
        shutil.rmtree(out, ignore_errors=True)


def argument_cases(road, folder, rng, count):
    """What is typed: names, numbers, filters, words; with what a shell can pass on (no NUL)."""
    texts = [os.fsdecode(text.encode("utf-8", "surrogatepass")) for text in HOSTILE_TEXTS if "\0" not in text]
    texts += [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e400",
        "modality",
        "=",
        "!=",
        "modality=",
        "age>=x",
        "age>=nan",
    ]
    scan = str(road.scan)
    shapes = (
        lambda t: ("search", t, "--json", *ASK),
        lambda t: ("search", "--mode", "words", *ASK, "--", t),
        lambda t: ("search", "x", "--where", t, "--json", *ASK),
        lambda t: ("search", "x", "--collection", t),
        lambda t: ("search", "x", f"--min-score={t}", "--json", *ASK),
        lambda t: ("search", "x", f"--top={t}", *ASK),
        lambda t: ("search", "x", "--exclude-group", t, "--json", *ASK),
        lambda t: ("search", f"--image={t}", "--mode", "dense", *ASK),
        lambda t: ("caption", "--json", *ASK, "--", t),
        lambda t: ("caption", "--", t),
        lambda t: ("caption", scan, f"--files-from={t}", *ASK),
        lambda t: ("caption", scan, f"--reference={t}", *ASK),
        lambda t: ("caption", scan, "--model", t, *ASK),
        lambda t: ("caption", scan, f"--explain={t}", *ASK),
        lambda t: ("collections", "show", "-q", "--", t),
        lambda t: ("collections", "import", "-q", "--", t),
        lambda t: ("collections", "drop", "-q", "--yes", "--", t),
        lambda t: ("collections", "export", "phantoms", f"--out={t}", "-q"),
        lambda t: ("corpus", "show", "-q", "--", t),
        lambda t: ("corpus", "merge", t, str(road.corpus), "--out", "new", "-q"),
        lambda t: ("clean", t, str(road.raw), "--out", "new"),
        lambda t: ("clean", "folder", t, "--out", "new", "--dry-run"),
        lambda t: ("clean", "folder", str(road.raw), "--group-pattern", t, "--dry-run", "--json"),
        lambda t: ("clean", "folder", str(road.raw), "--caption-column", t, "--dry-run"),
        lambda t: ("clean", "folder", str(road.raw), "--caption", t, "--dry-run", "--json"),
        lambda t: ("score", t, "--json"),
        lambda t: ("index", t, "--model", str(road.model), "--collection", "new"),
        lambda t: ("index", str(road.corpus), "--model", t, "--collection", "new", "--dry-run"),
        lambda t: ("evaluate", t, *ASK),
        lambda t: ("duplicates", t),
        lambda t: (t,),
        lambda t: ("caption", scan, f"--lock-timeout={t}", "--json", *ASK),
        lambda t: ("caption", scan, f"--min-confidence={t}", "--json", *ASK),
    )
    everything = [(shape, text) for shape in range(len(shapes)) for text in texts]
    rng.shuffle(everything)
    os.chdir(folder)
    for shape, text in everything[:count]:
        command, *rest = shapes[shape](text)
        arguments = (command, "--quiet", *rest) if rest and command not in GROUPS else (command, *rest)
        yield Case(f"arguments {arguments!r:.150}", arguments, codes=(0, 1, 2, 3))


def name_cases(road, folder, rng, count):
    """Good and bad images under names that hurt, named in lists, in folders and one by one."""
    names = [
        "line\nfeed.png",
        "tab\t.png",
        "-k.png",
        "--json.png",
        "quote'\".png",
        "\x1b[31mred.png",
        " .png",
    ]
    names += ["\udcff\udcfe.png", "[a-c]*.png", "?.png", "$(reboot).png", "é" * 100 + ".png", "\u202egnp.png"]
    for name in names:
        shutil.copy(road.scan, folder / name)
        (folder / f"bad {name}").write_bytes(b"no image")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    os.symlink("loop.png", folder / "loop.png")
    os.symlink("/dev/zero", folder / "endless.png")
    listed = sorted(path for path in folder.iterdir() if path.name != "folder.png")
    caption = ("caption", "--quiet", "-k", "1", *ASK)
    raw = b"\0".join(map(os.fsencode, listed))
    many = {"codes": (3,), "inputs": len(listed)}
    yield Case("list", (*caption, "--json", "-0", "-"), stdin=raw, **many)
    (folder / "list").write_bytes(raw)
    yield Case("files-from", (*caption, "--json", "-0", "--files-from", str(folder / "list")), **many)
    (folder / "list").unlink()
    yield Case("table", (*caption, "-0", "-"), stdin=raw, codes=(3,))
    yield Case("lines", (*caption, "-"), stdin=raw.replace(b"\0", b"\n"), codes=(3,))
    yield Case("noise", (*caption, "-"), stdin=rng.randbytes(3000), codes=(1,))
    yield Case("folder", (*caption, "--json", str(folder)), codes=(3,), inputs=len(listed))
    yield Case("clean", ("clean", "folder", str(folder), "--dry-run", "-q"), codes=(1,))
    for path in [*listed, folder / "folder.png", folder / ("x" * 300), folder / "gone\n.png"][: count - 7]:
        yield Case(f"name {path.name!r}", (*caption, str(path)))
        yield Case(f"name {path.name!r}", ("search", "--image", str(path), "-q", "--mode", "dense", *ASK))


FAMILIES = {
    "images": (image_cases, 720),
    "single images": (single_image_cases, 90),
    "predictions": (prediction_cases, 300),
    "tables": (table_cases, 150),
    "settings": (settings_cases, 150),
    "models": (model_cases, 60),
    "collections": (collection_cases, 70),
    "archives": (archive_cases, 50),
    "corpora": (corpus_cases, 100),
    "shards": (shard_cases, 50),
    "arguments": (argument_cases, 300),
    "names": (name_cases, 60),
}


def cases_of(family, road, folder, seed, count=None):
    """Yield the cases of a family, the same ones for the same seed."""
    make, usual = FAMILIES[family]
    yield from make(road, folder, random.Random(f"{family} {seed}"), usual if count is None else count)
