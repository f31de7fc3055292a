"""Throw broken input at medclip: python -m tests.medclip_cli.robustness ROAD FAMILY... [--seed N].

Prints one JSON object: how many inputs of each family there were, and what was wrong. A hang ends it by
a signal; the case that hung stands in the file that `--log` names.
"""

import argparse
import json
import os
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.medclip_cli.conftest import Demo
from tests.medclip_cli.robustness.cases import FAMILIES, cases_of
from tests.medclip_cli.robustness.running import Case, faults, limit_memory, run

# libtiff complains of damaged files on stderr, in words of its own; Pillow has no way to quiet it.
LIBTIFF = re.compile(r"tempfile\.tif: |_?TIFF\w+: |\w+Decode\w*: |Fax\w+: ")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("families", nargs="+", choices=FAMILIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    options = parser.parse_args()
    os.environ["MEDCLIP_HOME"] = str(options.demo / "home")
    demo = Demo(options.demo)
    run(Case("warm up", ("caption", str(demo.scan), "--collection", "phantoms")))
    limit_memory()
    found = {}
    for family in options.families:
        with tempfile.TemporaryDirectory() as folder:
            cases = cases_of(family, demo, Path(folder), options.seed, options.cases)
            found[family] = throw(cases, options.log)
            os.chdir("/")
    sys.stdout.write(json.dumps(found) + "\n")


def throw(cases, log):
    """Run the cases and gather what was wrong."""
    inputs, codes, wrong, slowest = 0, Counter(), [], (0.0, "")
    noise = Noise()
    for case in cases:
        log.write_text(f"{case.name} {case.arguments!r}", encoding="utf-8", errors="backslashreplace")
        began = time.perf_counter()
        with noise:
            outcome = run(case)
        slowest = max(slowest, (time.perf_counter() - began, case.name))
        inputs += case.inputs
        codes[outcome.code] += 1
        found = [*faults(case, outcome), *noise.faults()]
        if found:
            wrong.append({"case": case.name, "faults": found, "err": outcome.err[-500:]})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"inputs": inputs, "codes": codes, "wrong": wrong, "slowest": slowest, "peak_bytes": peak}


class Noise:
    """What libraries in other languages print past Python, on the file descriptors themselves."""

    def __enter__(self):
        sys.stdout.flush()
        sys.stderr.flush()
        self._file = tempfile.TemporaryFile()
        self._kept = os.dup(1), os.dup(2)
        os.dup2(self._file.fileno(), 1)
        os.dup2(self._file.fileno(), 2)

    def __exit__(self, *_):
        for number, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)

    def faults(self):
        """Yield what was printed, if anything."""
        self._file.seek(0)
        text = self._file.read().decode(errors="replace")
        self._file.close()
        if rest := [line for line in text.splitlines() if line and not LIBTIFF.match(line)]:
            yield f"printed past Python: {rest[:3]}"


if __name__ == "__main__":
    main()
