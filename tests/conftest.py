"""What every test stands on: a home of its own, and the real samples where they are present."""

import os
from pathlib import Path

import pytest

from tests.medclip_cli.in_process import forget

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--update-snapshots", action="store_true", help="write what people read anew")


def pytest_configure():
    """One thread of torch in each process: there are several, and others may use the machine."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def isolated_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the settings and collections of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("MEDCLIP_") and name not in ("MEDCLIP_SHARED", "MEDCLIP_TEST_QDRANT_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEDCLIP_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield home
    forget()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real samples and reference scores beside the checkout; skips where it is absent."""
    path = Path(os.environ.get("MEDCLIP_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "golden").is_dir():
        pytest.skip(
            f"no real samples at {path}: set MEDCLIP_SHARED to the folder that holds data/ and golden/"
        )
    return path
