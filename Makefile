PORT ?= 8000
DATA_DIR ?= var
DEMO ?= 1
PYTHON ?= python3
export DATA_DIR
BIN := .venv/bin
READY := .venv/ready

.PHONY: run test lint

run: $(READY)
	@DEVELOPMENT=1 exec $(BIN)/python manage.py serve --port $(PORT) $(if $(filter 1,$(DEMO)),--demo)

test: $(READY) lint
	@DEVELOPMENT=1 $(BIN)/python manage.py makemigrations --check --dry-run
	@node --test tests/js/
	@DEVELOPMENT=1 $(BIN)/python -m tests.on_postgresql
	@DEVELOPMENT=1 $(BIN)/python -m pytest

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@DEVELOPMENT=1 $(BIN)/mypy labelsite projects labeling exports assist

# The environment is made once, and again when what it is made of changes.
$(READY): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@
