# make app    serve the page on http://127.0.0.1:7860
# make test   lint and run every test
# make train  train the base network on BSDS500 (downloads the photos)
# Each makes .venv on first use; PYTHON=python3.12 make app picks another interpreter.

PYTHON ?= python3
BIN = .venv/bin

.PHONY: app test train format

app: .venv/app
	$(BIN)/python app.py

test: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

train: .venv/app
	$(BIN)/python -m train fit

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
