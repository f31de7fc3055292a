# Two commands to know: `make demo` and `make test`. Both set up everything they need in .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check docs format bench clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED)  ## Make .venv and install medclip with its dev extra.

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: install  ## Run the whole pipeline on generated data: clean, train, index, caption, search, score.
	$(BIN)/medclip demo --out work/demo --force

test: install  ## Run the tests, in two processes.
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: install  ## Lint, types, layers, and whether docs/commands.md is fresh.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.tools.command_reference --check

docs: install  ## Write what is generated in docs/: the command reference.
	$(BIN)/python -m docs.tools.command_reference

format: install  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## Measure the claims about speed; one table at the end.
	$(BIN)/python -m benchmarks

clean:  ## Remove everything that was built.
	rm -rf .venv work build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
