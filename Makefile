# make app        serve the page on http://127.0.0.1:7860
# make check      lint, types and the fast tests
# make test       lint, types and every test but the long ones
# make test-long  the long tests: a siege of the page, damaged files of every format
# make train      train the default network on BSDS500 (downloads the photos)
# Each makes .venv on first use; PYTHON=python3.12 make app picks another interpreter.

PYTHON ?= python3
BIN = .venv/bin

.PHONY: app check test test-long train lint format

app: .venv/app
	$(BIN)/python app.py

check: lint
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow and not long"

test: lint
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-long: .venv/dev
	$(BIN)/python -m pytest -m long

train: .venv/app
	$(BIN)/python -m train fit

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/app: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev: requirements-dev.txt .venv/app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
