"""The promises of the design that are cheap to check on every run."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import encoders
import medclip_cli
import trainers

TORCH_FREE = ("torch", "torchvision", "transformers", "qdrant_client", "pandas")


def modules_loaded_by(code):
    probe = f"import sys\n{code}\nprint(*sorted(m for m in {TORCH_FREE!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "medclip_cli.app",
        "medclip_cli.collection",
        "medclip_cli.models",
        "encoders.presets",
        "encoders.images",
        "encoders.preprocessing",
        "encoders.bundle",
        "encoders.runtime",
        "medclip_cli.vector_index.edge",
        "medclip_cli.scoring.captions",
        "medclip_cli.corpora.corpus_folder",
    ],
)
def test_importing_a_module_of_the_asking_path_leaves_torch_alone(module):
    assert modules_loaded_by(f"import {module}") == []


@pytest.mark.parametrize("package", [encoders, trainers, medclip_cli], ids=lambda package: package.__name__)
def test_every_module_says_what_it_is_and_exports_what_it_has(package):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        assert module.__doc__, f"{found.name} has no docstring"
        missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
        assert not missing, f"{found.name}.__all__ names {missing}"
