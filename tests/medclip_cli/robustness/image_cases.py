"""Images, whole and broken, under every kind of name, through every door that takes one."""

import os
import shutil

from tests.medclip_cli.robustness import images
from tests.medclip_cli.robustness.damage import damage, damage_head
from tests.medclip_cli.robustness.running import Case

ASK = ("--collection", "phantoms")
IMAGES_AT_ONCE = 60


def image_cases(demo, folder, rng, count):
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


def single_image_cases(demo, folder, rng, count):
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


def name_cases(demo, folder, rng, count):
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
        shutil.copy(demo.scan, folder / name)
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
