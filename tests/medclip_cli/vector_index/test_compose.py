"""The server of docker-compose.yml: to Qdrant up to 1.18 an empty string is a key."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KEY = re.compile(r"^\s*-?\s*\"?QDRANT__SERVICE__\w*API_KEY\"?\s*[:=]\s*(?P<value>.*?)\s*$", re.MULTILINE)


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.read-only.yml"])
def test_no_key_can_become_an_empty_string(name):
    text = (ROOT / name).read_text()
    values = [found["value"] for found in KEY.finditer(text)]
    assert len(values) == len(re.findall(r"^[^#\n]*API_KEY\b.*:", text, re.MULTILINE)) == 1
    # Only ${NAME:?message} refuses a variable that is empty as well as one that is not set.
    assert all(re.fullmatch(r"\$\{\w+:\?[^}]+\}", value) for value in values), values


def test_the_release_takes_an_empty_key_for_none():
    images = re.findall(r"qdrant/qdrant:(\S+)", "".join(path.read_text() for path in files()))
    versions = [re.fullmatch(r"v(\d+)\.(\d+)\.\d+", image) for image in images]
    assert len(versions) > 1
    assert all(found and (int(found[1]), int(found[2])) >= (1, 19) for found in versions), images


def files():
    return [ROOT / "docker-compose.yml", ROOT / "docs" / "scale.md"]
