# make demo   set up and run the main job: no key, no network to any provider
# make test   set up with the test extra and run the suite
# make lint   ruff, mypy --strict, import rules, schemas up to date
# make bench  every benchmark, one after the other; fails when a must is missed
# make wheel  build the wheel into dist/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?= -n 2

.PHONY: demo test lint bench wheel docs schemas clean

demo: $(VENV)/.installed
	$(BIN)/bundle-loader check
	$(BIN)/bundle-loader verify
	$(BIN)/bundle-loader delegate git-ops "Commit the staged files" --simulate --fault anthropic=503

test: $(VENV)/.tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m bundle_loader.sources.schemas --check

bench: $(VENV)/.tests
	@missed=0; for name in import_time delegation turns recipes ledger ledger_crash load derive route name_order reroute in_flight survival chaos; do \
		$(BIN)/python -m benchmarks.$$name || missed=1; done; exit $$missed

wheel: $(VENV)/.lint
	$(BIN)/python -m build --wheel --outdir dist .

docs: $(VENV)/.installed
	$(BIN)/python -m bundle_loader.cli.reference > docs/commands.md

schemas: $(VENV)/.installed
	$(BIN)/python -m bundle_loader.sources.schemas

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	touch $@

$(VENV)/.tests: $(VENV)/.installed
	$(PIP) install --editable ".[test]"
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(PIP) install --editable ".[test,lint,build]"
	touch $@

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
