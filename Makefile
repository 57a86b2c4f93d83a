# Two commands on a fresh machine: `make demo` and `make test`. Everything lands in .venv.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin

# each module of tests on one of as many workers as there are processors; libraries add no threads of their own to that
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadgroup \
	--durations 20
EVERY  := not slow and not soak and not vllm and not cluster

.PHONY: setup setup-dev demo cluster-demo test test-all test-bare lint test-slow test-vllm test-cluster soak bench docs clean

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -e '.[cpu]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --no-compile -e '.[cpu,bus,dev,train,eval]'
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

# without the two folders that take longest; they are not even imported
test: setup-dev lint
	$(PYTEST) -m "$(EVERY)" --ignore tests/training --ignore tests/reliability

test-all: setup-dev lint
	$(PYTEST) -m "$(EVERY)"

# the tests that can skip, and their neighbours, where there is no browser, Node.js, ffmpeg or shared folder
test-bare: setup-dev
	tests/bare.sh $(PYTEST) -m "bare and $(EVERY)"

test-slow: setup-dev
	$(BIN)/python -m pytest -m "slow and not cluster" --timeout 1800

# a real vLLM on the CPU, in an environment of its own; where none can be had, one sentence says so
test-vllm: setup-dev
	@code=0; tests/vllm/install.sh $(PYTHON) .venv-vllm || code=$$?; \
	if [ $$code -eq 3 ]; then exit 0; elif [ $$code -ne 0 ]; then exit $$code; fi; \
	$(BIN)/python -m pytest -m vllm tests/vllm

# real brokers, started from what is installed; what is not there is skipped and said
test-cluster: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "cluster and not slow" --durations 10

# a broker, two cameras' nodes, two describers, two gateways and a page on this machine; one of each is killed
cluster-demo: setup-dev
	$(BIN)/python -m tests.cluster.demo

soak: setup-dev
	$(BIN)/python -m pytest -m soak --timeout 10800

bench: setup
	$(BIN)/mellm bench

docs: setup-dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) .venv-vllm runs docs/_build
