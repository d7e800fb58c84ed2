# Every target works on a machine with only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 2
# Files of tests run side by side, each on one thread.
WORKERS ?= 2

.PHONY: setup demo test lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "safegen needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing pinned packages into $(VENV) (a few minutes the first time; torch is large) ..."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# tinysoundfont declares PyAudio, which needs PortAudio headers; it renders without it.
	@# visqol-python declares libsvm, which needs a C++ compiler; it measures without it.
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt tinysoundfont visqol-python
	@touch $@

demo: setup
	$(BIN)/safegen demo --out demo-out

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/safegen eval gate
	$(BIN)/safegen eval generation --count 20
	$(BIN)/safegen eval streaming
	$(BIN)/safegen eval public-models --rounds 1

clean:
	rm -rf demo-out .pytest_cache .mypy_cache .ruff_cache build dist
