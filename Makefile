# Each command sets up a virtual environment first, if there is none.
# VENV=DIR uses another one; PYTHON=... makes it with another interpreter (3.11.4 or newer).

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
USER_READY = $(VENV)/.evo_nas-ready
DEVELOPER_READY = $(VENV)/.evo_nas-developer-ready
# Each of the hundred processes that the tests start would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help demo check test soak browser docs notebooks wheel oldest crash lint format clean

help: ## list these commands
	@grep -E '^[a-z]+:.* ## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.* ## /\1\t/' | \
		while IFS="$$(printf '\t')" read -r name words; do printf 'make %-9s %s\n' "$$name" "$$words"; done

demo: $(USER_READY) ## install what a user needs: minutes of downloads; then search cells for handwritten digits: 4 more on 2 cores
	$(BIN)/python -m evo_nas run --strategy evolution --population 12 --sample 4 --dataset digits \
		--trials 48 --workers 2 --run-dir $(DEMO)
	@echo
	@echo "the curve, and the best cell:"
	@$(BIN)/python -m evo_nas plot $(DEMO)
	@$(BIN)/python -m evo_nas plot $(DEMO) --kind cells
	@echo
	@echo "before you type commands of your own: . $(VENV)/bin/activate"

check: lint ## lint, types, and the tests that are not slow, without hostile/ and survival/: what to run after each change
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m "not slow and not soak" --ignore tests/hostile --ignore tests/survival

test: lint ## lint, types and the tests: what CI runs
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m "not soak"

soak: $(DEVELOPER_READY) ## the cases that repeat others with heavier libraries: minutes
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m soak

browser: $(DEVELOPER_READY) ## try the report and the documentation in Chromium (apt-get install chromium); without one it is skipped
	$(PIP) --editable '.[browser]'
	$(BIN)/python -m pytest -q tests/browser

docs: $(BIN)/python ## the documentation as a site in build/site: strict, searchable, no request to another host
	$(PIP) 'mkdocs-material>=9.6' 'mkdocstrings[python]>=0.30'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

notebooks: $(DEVELOPER_READY) ## execute docs/notebooks and keep them with their outputs in build/notebooks: minutes
	$(PIP) 'jupytext>=1.16' 'nbclient>=0.10' 'ipykernel>=6.29'
	$(BIN)/python .ci/notebooks.py

wheel: $(DEVELOPER_READY) ## build build/dist, and use the wheel with its kernels in an environment of its own (BORROW=--borrow: in seconds)
	$(PIP) 'build>=1.2.1'
	$(BIN)/python .ci/wheel.py $(BORROW)

oldest: | $(BIN)/python ## the quick tests with the oldest version of every library that pyproject.toml allows: an hour, 12 GB
	$(BIN)/python .ci/oldest.py

crash: $(DEVELOPER_READY) ## cut the power at 2,000 moments of searches, trainings and outputs: minutes, needs a C compiler
	$(BIN)/python -m benchmarks.crash --states 2000

lint: $(DEVELOPER_READY) ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEVELOPER_READY) ## write the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what builds and tools leave behind
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -m evo_nas --version >/dev/null || { echo "name a newer one: make ... PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(USER_READY): pyproject.toml | $(BIN)/python
	@echo "installing evo_nas and its libraries: minutes, without a word"
	$(PIP) --editable .
	touch $@

$(DEVELOPER_READY): pyproject.toml | $(BIN)/python
	@echo "installing evo_nas and all that its developers need: minutes, without a word"
	$(PIP) --editable '.[dev]'
	touch $(USER_READY) $@
