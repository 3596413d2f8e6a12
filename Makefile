# make demo   train on the embedded digits, evaluate, predict an image file (about a minute)
# make test   the test suite        make check   formatting, lint, types, import directions
# make bench  what benchmarks/ holds   make clean   everything that make made, but no run of yours
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench clean constraints

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

help:
	@sed -n '1,3s/^# //p' Makefile

# Runs again only when what is installed would change.
$(READY): pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(READY)

demo: $(READY)
	@$(PYTHON) examples/demo.py

# One process a core, one thread each: the tests start many small commands. A module stays in one process.
test: $(READY)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest --numprocesses auto --dist loadscope --no-loadscope-reorder

check: $(READY)
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(PYTHON) -m pytest --quiet tests/test_imports.py

bench: $(READY)
	$(PYTHON) -m benchmarks

clean:
	rm -rf $(VENV) build dist runs/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# After an upgrade that passes: pin what is installed. CUDA's and triton's packages are left to torch.
constraints: $(READY)
	{ sed -n '/^#/p' constraints.txt; $(PYTHON) -m pip freeze --exclude-editable \
	  | grep -v -i -E '^(nvidia|cuda|triton)|@|://'; } > constraints.new
	mv constraints.new constraints.txt
