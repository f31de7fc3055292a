"""Thousands of broken inputs: no traceback, no hang, no memory over 2 GiB, the right exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.medclip_cli.robustness.cases import FAMILIES

REPOSITORY = Path(__file__).resolve().parents[3]
AT_LEAST = 2_000
SEED = 0


def throw(family, demo, log):
    command = ("-m", "tests.medclip_cli.robustness", demo.folder, family, "--seed", SEED, "--log", log)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=REPOSITORY,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    last = log.read_text(encoding="utf-8")
    assert -done.returncode not in (signal.SIGALRM, signal.SIGPROF), f"no end in time: {last}"
    assert done.returncode == 0, f"{done.stderr[-2000:]} after {last}"
    return json.loads(done.stdout)[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_broken_input_ends_well(demo, tmp_path, family):
    """Each family has a process, whose memory is limited."""
    thrown = throw(family, demo, tmp_path / "last")
    assert thrown["wrong"] == []
    assert thrown["inputs"] >= FAMILIES[family][1]


def test_there_are_enough_cases():
    assert sum(count for _, count in FAMILIES.values()) >= AT_LEAST
