"""`make bench`: every benchmark, one after the other, and one table of what they found.

    python -m benchmarks [NAME ...] [--table] [--into docs/speed.md]

NAME is that of a script without `bench_`; none means all. Rows are kept under work/bench, so that one script
can be run again on its own: `--table` shows what is kept without running any. `--into` puts the table
between the marks `<!-- bench -->` of a page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import ROWS_VARIABLE, Row

KEPT = Path("work/bench")
MARK = "<!-- bench -->"
HEADINGS = ("what", "against", "measured", "ratio", "aim", "met")
SCRIPTS = {script.stem.removeprefix("bench_"): script for script in Path(__file__).parent.glob("bench_*.py")}


def main() -> int:
    """Run the scripts and print the table; the exit code counts those that failed to run."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sorted(SCRIPTS)))
    arguments.add_argument("--table", action="store_true", help="show what is kept, run nothing")
    arguments.add_argument("--into", type=Path, help="a page that carries the table")
    given = arguments.parse_args()
    if unknown := sorted(set(given.names) - set(SCRIPTS)):
        arguments.error(f"no benchmark {unknown[0]!r}: use one of {', '.join(sorted(SCRIPTS))}")
    names = given.names or sorted(SCRIPTS)
    failed = [] if given.table else [name for name in names if not _run(name)]
    rows = [row for name in sorted(SCRIPTS) for row in _kept(name)]
    text = f"Measured on {machine()}.\n\n{as_table(rows)}"
    print(f"\n{text}")
    if given.into:
        put_between_marks(given.into, text)
    for name in failed:
        print(f"benchmarks.bench_{name} failed to run", file=sys.stderr)
    return len(failed)


def _run(name: str) -> bool:
    """Run one script; its rows replace those kept of it when it ends well and has found any."""
    print(f"== {name}", flush=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    fresh = KEPT / f"{name}.part"
    fresh.write_text("", encoding="utf-8")
    command = [sys.executable, "-m", f"benchmarks.bench_{name}"]
    env = {**os.environ, ROWS_VARIABLE: str(fresh.resolve())}
    done = subprocess.run(command, check=False, env=env)
    if done.returncode == 0 and fresh.stat().st_size:
        fresh.replace(KEPT / f"{name}.jsonl")
    return done.returncode == 0


def _kept(name: str) -> list[Row]:
    file = KEPT / f"{name}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, padded so that a terminal shows it well, too."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    measured = " / ".join(side.split(" [")[0] for side in (row.ours, row.theirs) if side)
    return row.what, row.against, measured, row.found, row.wanted, "yes" if row.met else "NO"


def machine() -> str:
    """Return the machine in words: processor, cores, memory, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB of memory, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def put_between_marks(page: Path, text: str) -> None:
    """Replace what stands between the two marks of a page."""
    parts = page.read_text(encoding="utf-8").split(MARK)
    if len(parts) != 3:
        raise SystemExit(f"{page} must hold {MARK} twice")
    page.write_text(f"{parts[0]}{MARK}\n{text}{MARK}{parts[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
