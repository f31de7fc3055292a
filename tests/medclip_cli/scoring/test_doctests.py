"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import medclip_cli.scoring

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(medclip_cli.scoring.__path__, "medclip_cli.scoring.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.failed == 0


def test_there_are_examples():
    tried = sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES)
    assert tried > 10
