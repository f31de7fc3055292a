"""Every block of docs/python.md runs as it stands, in the order of the page."""

import contextlib
import io
import logging
import re

import pytest
from PIL import Image

from medclip_cli.phantoms import draw_dataset
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "python.md"


@pytest.fixture
def notes_as_before():
    logger = logging.getLogger("medclip")
    before = logger.handlers, logger.level, logger.propagate, logging.root.handlers[:], logging.root.level
    yield
    logger.handlers, logger.level, logger.propagate = before[:3]
    logging.root.handlers[:], logging.root.level = before[3:]


def test_every_block_of_the_python_page_runs(tmp_path, monkeypatch, notes_as_before):
    monkeypatch.chdir(tmp_path)
    draw_dataset(tmp_path / "my-scans", images=120, side_pixels=48)
    first, second, *others = sorted((tmp_path / "my-scans" / "images").glob("*.png"))
    (tmp_path / "scans").mkdir()
    for source, name in ((first, "scan.png"), (second, "a.png"), (others[0], "scans/b.jpg")):
        Image.open(source).save(tmp_path / name)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 5
    names = {"__name__": "page"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"docs/python.md, block {number}", "exec"), names)  # noqa: S102
    assert "no-such-collection" in printed.getvalue()
    assert {answer.collection for answer in names["answers"] if answer.error is None} == {"medpix"}
