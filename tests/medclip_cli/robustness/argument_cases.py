"""Names, numbers, filters and words as somebody may type them."""

import os

from tests.medclip_cli.robustness.damage import HOSTILE_TEXTS
from tests.medclip_cli.robustness.running import Case

ASK = ("--collection", "phantoms")
GROUPS = ("collections", "corpus")


def argument_cases(demo, folder, rng, count):
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
    scan = str(demo.scan)
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
        lambda t: ("corpus", "merge", t, str(demo.corpus), "--out", "new", "-q"),
        lambda t: ("clean", t, str(demo.raw), "--out", "new"),
        lambda t: ("clean", "folder", t, "--out", "new", "--dry-run"),
        lambda t: ("clean", "folder", str(demo.raw), "--group-pattern", t, "--dry-run", "--json"),
        lambda t: ("clean", "folder", str(demo.raw), "--caption-column", t, "--dry-run"),
        lambda t: ("clean", "folder", str(demo.raw), "--caption", t, "--dry-run", "--json"),
        lambda t: ("score", t, "--json"),
        lambda t: ("index", t, "--model", str(demo.model), "--collection", "new"),
        lambda t: ("index", str(demo.corpus), "--model", t, "--collection", "new", "--dry-run"),
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
