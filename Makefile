# Two commands: `make demo` and `make test`. Each sets up a virtual environment first, if there is none.
# VENV=DIR uses another one; PYTHON=... makes it with another interpreter (3.11.4 or newer).

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = $(VENV)/bin
READY = $(VENV)/.evo_nas-ready
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test browser lint format clean

# Regularized evolution on the digits that scikit-learn ships: about 4 minutes on 2 cores.
demo: $(READY)
	$(BIN)/python -m evo_nas run --strategy evolution --population 12 --sample 4 --dataset digits \
		--trials 48 --workers 2 --run-dir $(DEMO)
	@echo
	@echo "the curve, and the best cell:"
	@$(BIN)/python -m evo_nas plot $(DEMO)
	@$(BIN)/python -m evo_nas compare $(DEMO) | grep figures/

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# The report in a real browser: Chromium, as Debian and Ubuntu have it (apt-get install chromium); else it is skipped.
browser: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	$(BIN)/python -m pytest -q tests/browser

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
