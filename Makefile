# Everything lives in .venv: `make demo` and `make test` need Python, make and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint types bench clean
help:            ## the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

$(VENV)/.installed-bench: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	@touch $@

install: $(VENV)/.installed  ## the product into .venv

demo: $(VENV)/.installed  ## make a small catalogue, tag it, show the result
	$(BIN)/catalog-tagger demo

test: $(VENV)/.installed-test  ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations=25

lint: $(VENV)/.installed-test  ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.installed-test  ## mypy --strict
	$(BIN)/mypy

bench: $(VENV)/.installed-bench  ## speed against named peers, in one run; BENCH="--sections end_to_end": whole jobs
	$(BIN)/python tests/bench/bench.py $(BENCH)

clean:           ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info demo
