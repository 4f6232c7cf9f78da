# Everything here works on a clean machine with Python 3.11 or newer: a target that needs the virtual environment makes it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(VENV)/installed ## create .venv with the tested versions (PYTHON=python3.12 chooses the interpreter)

# The marker is written last, so an installation that was interrupted is taken up again. torch comes first and by its
# exact version: a range may resolve to a much larger build.
$(VENV)/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "There is no '$(PYTHON)'; choose an interpreter with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "HyMARL needs Python 3.11 or newer, '$(PYTHON)' is $$($(PYTHON) -V 2>&1); choose another with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); this takes a few minutes at most."
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[dev]'
	@touch $@

.PHONY: train
train: venv ## run the main job, or another: make train ARGS="mixer=vdn env=loadbalance agents=4"
	$(BIN)/python main.py $(or $(ARGS),mixer=qmix env=loadbalance agents=8)

.PHONY: test
test: venv ## run the fast tests; make test ARGS="-m slow" runs the slow ones
	$(BIN)/python -m pytest -n 2 $(ARGS)

.PHONY: lint
lint: venv ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: venv ## check types
	$(BIN)/mypy

.PHONY: format
format: venv ## repair style as far as a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: venv ## compare speeds; make bench ARGS="--cases 'train-*' --peers xuance"
	$(BIN)/python benchmarks/run.py $(ARGS)

.PHONY: clean
clean: ## remove .venv, builds and caches; results stay
	rm -rf $(VENV) build dist src/*.egg-info *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
