# Two commands on a fresh machine: `make demo` and `make test`. Everything lands in .venv.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup setup-dev demo test lint test-slow soak bench clean

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -e '.[cpu]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --no-compile -e '.[cpu,dev,train,eval]'
	touch $@

setup: $(VENV)/.base
	$(BIN)/mellm models pull

setup-dev: $(VENV)/.dev
	$(BIN)/mellm models pull

demo: setup
	$(BIN)/mellm demo --out runs/demo

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup-dev lint
	$(BIN)/python -m pytest -m "not slow and not soak"

test-slow: setup-dev
	$(BIN)/python -m pytest -m slow --timeout 1800

soak: setup-dev
	$(BIN)/python -m pytest -m soak --timeout 10800

bench: setup
	$(BIN)/mellm bench

clean:
	rm -rf $(VENV) runs
