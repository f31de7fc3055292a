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


@pytest.fixture(scope="module")
def thrown(road, tmp_path_factory):
    """What became of every case, by family; each family has a process, whose memory is limited."""
    return {family: throw(family, road, tmp_path_factory.mktemp("fuzz") / "last") for family in FAMILIES}


def throw(family, road, log):
    command = ("-m", "tests.medclip_cli.robustness", road.folder, family, "--seed", SEED, "--log", log)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=REPOSITORY,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    last = log.read_text(encoding="utf-8")
    assert -done.returncode not in (signal.SIGALRM, signal.SIGPROF), f"no end in time: {last}"
    assert done.returncode == 0, f"{done.stderr[-2000:]} after {last}"
    return json.loads(done.stdout)[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_broken_input_ends_well(thrown, family):
    assert thrown[family]["wrong"] == []


def test_there_are_enough_cases_of_both_kinds(thrown):
    assert sum(found["inputs"] for found in thrown.values()) >= AT_LEAST
    codes = {code for found in thrown.values() for code in found["codes"]}
    assert codes == {"0", "1", "2", "3"}, "broken input that always fails the same way tests one line"
