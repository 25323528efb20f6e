# make demo: from a checkout to a trained model and its report.   make test: the fast tests.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A marker file says what was installed, so that a second make goes straight to work.
INSTALLED := $(VENV)/.regraft
TESTABLE := $(VENV)/.regraft-test
BENCHABLE := $(VENV)/.regraft-bench
# More words for pip, such as --no-compile where that is done later.
INSTALL_OPTIONS ?=
# Some files of tests at a time: each process holds PyTorch, so not as many as a large machine has cores.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lint check bench docs clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED) ## fit, evaluate and report on example data, into demo/
	$(BIN)/regraft demo --out demo

test: $(TESTABLE) ## the fast tests (more: make test ARGS='-k probe')
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-slow: $(TESTABLE) ## the slow tests
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

lint: $(TESTABLE) ## format, lint and types
	PYTHON=$(BIN)/python scripts/check --static

check: $(TESTABLE) ## lint and the fast tests, as one command
	PYTHON=$(BIN)/python scripts/check

bench: $(BENCHABLE) ## the benchmarks, into out/bench/
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks --out out/bench $(ARGS)

docs: $(TESTABLE) ## the reference from docstrings, into out/docs/
	$(BIN)/python docs/reference.py out/docs

clean: ## remove the environment and the caches
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: regraft needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install -e .
	@touch $@

# The tests run on exact versions, and what they install serves the demo too.
$(TESTABLE): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(INSTALL_OPTIONS) -c constraints.txt -e '.[test]'
	@touch $(INSTALLED) $@

$(BENCHABLE): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install -c constraints.txt -e '.[bench]'
	@touch $(INSTALLED) $@
