"""Runs medclip in this process with limits, and says what is wrong with how it ended."""

import json
import re
import resource
import signal
from dataclasses import dataclass, field

from tests.medclip_cli.in_process import run_here

# Of computing, whoever else computes on this machine; and of waiting, for what waits for ever.
CPU_SECONDS, WAITING_SECONDS = 60, 600
MEMORY = 2 << 30
# What a terminal would obey rather than show.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Stands in every drawn caption, and must stand in no error message.
PATIENT_WORD = "Quillfeather"
OWN_LINE = "medclip: "
NEVER_SAID = ("internal error", "Traceback", "out of memory", PATIENT_WORD)


@dataclass(frozen=True)
class Case:
    """One thing somebody may type, and how it may end.

    Attributes:
        name: to find it again.
        arguments: of the command line.
        stdin: what is piped in.
        codes: the exit codes that are right.
        inputs: how many inputs it covers; with more than one, each has a record on stdout.
        environment: variables, set for this case.
    """

    name: str
    arguments: tuple[str, ...]
    stdin: bytes = b""
    codes: tuple[int, ...] = (0, 1)
    inputs: int = 1
    environment: dict = field(default_factory=dict)


def run(case):
    """Run one case; what takes too long kills this process by SIGPROF or SIGALRM."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITING_SECONDS)
    try:
        return run_here(case.arguments, case.stdin, case.environment)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def faults(case, outcome):
    """Yield what is wrong with how a case ended."""
    if outcome.code not in case.codes:
        yield f"exit code {outcome.code}, not one of {case.codes}"
    yield from (f"says {words!r}" for words in NEVER_SAID if words in outcome.err)
    if CONTROL.search(outcome.err) or CONTROL.search(outcome.out):
        yield "control characters for the terminal"
    # typer explains the usage in a box of its own.
    if not (outcome.code == 2 and outcome.err.startswith("Usage: ")):
        yield from (f"not one of our lines: {line}" for line in outcome.err.splitlines() if _is_odd(line))
    if outcome.code in (1, 2) and not (outcome.err + outcome.out).strip():
        yield "failed without a word"
    if "--json" in case.arguments:
        yield from _json_faults(case, outcome)


def _is_odd(line):
    return bool(line.strip()) and not line.startswith(OWN_LINE)


def _json_faults(case, outcome):
    lines = outcome.out.splitlines()
    try:
        records = [json.loads(line) for line in lines]
    except ValueError:
        yield "stdout is no JSON"
        return
    if case.inputs > 1:
        if len(records) != case.inputs:
            yield f"{len(records)} records for {case.inputs} inputs"
        failed = [record for record in records if record.get("error")]
        if outcome.code != (0 if not failed else 3 if len(failed) < len(records) else 1):
            yield f"exit code {outcome.code} with {len(failed)} of {len(records)} inputs failed"


def limit_memory():
    """From here on, no more memory than the limit on top of what is in use; needs Linux's /proc."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
