"""Many ask at once while a collection is built anew."""

import json
import os
import shutil
import subprocess
import sys

ASKERS = 8


def start(demo, home, *arguments):
    environment = {**os.environ, "MEDCLIP_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medclip_cli", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def test_eight_captions_at_once_during_an_index_run_all_succeed(demo, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(demo.folder / "home", home)
    scan = json.dumps(str(demo.scan))
    index = start(demo, home, "index", demo.corpus, "--collection", "phantoms", "--split", "all", "--json")
    caption = ("caption", demo.scan, "--collection", "phantoms", "--json")
    askers = [start(demo, home, *caption) for _ in range(ASKERS)]
    answers = [asker.communicate() for asker in askers]
    out, _ = index.communicate()
    assert [asker.returncode for asker in askers] == [0] * ASKERS, answers
    assert {json.dumps(json.loads(out)["image"]) for out, _ in answers} == {scan}
    assert index.returncode == 0
    assert json.loads(out)["added"] > 0
