"""`make bench`: every benchmark, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run every ``bench_*.py`` beside this file; the exit code counts those that failed to run."""
    failed = 0
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"== {script.stem}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{script.stem}"], check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
