PORT ?= 8000
DATA_DIR ?= var
DEMO ?= 1
PYTHON ?= python3
export DATA_DIR
BIN := .venv/bin
READY := .venv/ready
# The tests are shared out file by file, each process with a database of its own; one more than there are cores, as tests
# also wait for browsers and workers.
PROCESSES := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
SHARED := -n $(PROCESSES) --maxprocesses 4 --dist loadfile
# The Azure Storage server that the tests start; the site itself needs nothing from npm.
AZURITE := azurite@3.35.0
AZURITE_READY := .venv/$(AZURITE)

.PHONY: run test lint

run: $(READY)
	@DEVELOPMENT=1 exec $(BIN)/python manage.py serve --port $(PORT) $(if $(filter 1,$(DEMO)),--demo)

test: $(READY) $(AZURITE_READY) lint
	@DEVELOPMENT=1 $(BIN)/python manage.py makemigrations --check --dry-run
	@node --test tests/js/
	@DEVELOPMENT=1 $(BIN)/python -m tests.on_postgresql $(SHARED)
	@DEVELOPMENT=1 $(BIN)/python -m pytest $(SHARED)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@DEVELOPMENT=1 $(BIN)/mypy labelsite projects labeling exports assist

# The environment is made once, and again when what it is made of changes.
$(READY): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

$(AZURITE_READY): $(READY)
	@if command -v npm >/dev/null; then \
		npm install --prefix .venv/azurite --no-save --no-package-lock --ignore-scripts --omit=optional \
			--no-audit --no-fund --loglevel=error $(AZURITE) >/dev/null && touch $@; \
	else echo "npm is not installed: the tests of Azure Blob storage are left out."; fi
