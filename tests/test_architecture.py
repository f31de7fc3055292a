"""The promises of the design that are cheap to check on every run."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import encoders
import medclip_cli
import trainers

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("medclip_cli", "encoders", "trainers")
SOURCES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
MOST_FILES = 180
# What the asking half never imports, and what takes long to import and is imported where it is used.
TORCH_FREE = ("torch", "torchvision", "transformers", "onnx", "onnxscript", "qdrant_client", "pandas")
HEAVY = {*TORCH_FREE, "safetensors", "huggingface_hub", "jinja2", "sacrebleu", "grpc", "httpx"}


def name_of(path):
    return str(path.relative_to(REPOSITORY))


def imported(tree):
    """Yield the modules that the nodes of a tree import, as they are written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_once(tree):
    """Yield what is imported with the module itself: outside functions, and not for types alone."""
    for node in tree.body:
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not typing_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from imported(node)


def test_nothing_below_the_commands_imports_commands_or_terminal():
    above = ("medclip_cli.commands", "medclip_cli.terminal", "medclip_cli.app")
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in SOURCES
        if path.parts[len(REPOSITORY.parts) + 1] not in ("commands", "terminal", "app.py", "__main__.py")
        for module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module.startswith(above)
    ]
    assert not wrong


def test_medclip_cli_imports_nothing_heavy_with_a_module():
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in SOURCES
        if path.is_relative_to(REPOSITORY / "medclip_cli")
        for module in imported_at_once(ast.parse(path.read_text(encoding="utf-8")))
        if module.split(".")[0] in HEAVY or module.split(".")[0] == "trainers"
    ]
    assert not wrong


def test_there_are_not_too_many_files():
    assert len(SOURCES) <= MOST_FILES


@pytest.mark.parametrize("name", medclip_cli.__all__)
def test_every_name_of_the_public_api_has_a_docstring(name):
    assert getattr(medclip_cli, name).__doc__


def test_importing_medclip_cli_and_the_commands_of_asking_leaves_torch_and_pandas_alone():
    modules = (
        *("medclip_cli", "medclip_cli.app", "medclip_cli.collection", "medclip_cli.models"),
        *(
            f"medclip_cli.commands.{name}"
            for name in ("caption", "search", "score", "index", "evaluate", "clean")
        ),
        *(
            "medclip_cli.scoring",
            "medclip_cli.evaluation",
            "medclip_cli.vector_index",
            "medclip_cli.cleaning",
        ),
        *("medclip_cli.vector_index.edge", "encoders.runtime", "encoders.bundle", "encoders.presets"),
    )
    probe = "import sys, importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in modules)
    probe += f"print(*sorted(m for m in {TORCH_FREE!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", [encoders, trainers, medclip_cli], ids=lambda package: package.__name__)
def test_every_module_says_what_it_is_and_exports_what_it_has(package):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        assert module.__doc__, f"{found.name} has no docstring"
        missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
        assert not missing, f"{found.name}.__all__ names {missing}"
