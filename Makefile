# The only commands anyone has to know. run and test set everything up themselves.
SHELL := /bin/bash
BIN := .venv/bin
CONFIG ?= deploy/demo.toml
FUZZ_SECONDS ?= 3600

.PHONY: setup run demo test check bench fuzz faults train clean

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml deploy/setup
	@deploy/setup
	@touch $@

run: setup
	@exec $(BIN)/mammocalc up --config $(CONFIG)

demo: setup
	@exec $(BIN)/mammocalc demo --config $(CONFIG)

test: setup
	@tests/install-servers
	@tests/run-all

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/mammocalc bench read
	@$(BIN)/mammocalc bench reader-study
	@$(BIN)/mammocalc bench receive

fuzz: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	@$(BIN)/python -m tests.reception.coverage_guided $(FUZZ_SECONDS) build/fuzz
	@MAMMOCALC_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -q -s tests/reception/test_fuzzed_for_long.py

faults: setup
	@tests/install-servers
	@MAMMOCALC_FAULTS=320 MAMMOCALC_FAULT_STUDIES=320 MAMMOCALC_DEAD_ROUNDS=5 $(BIN)/python -m pytest -q -s tests/faults

train: setup
	@exec $(BIN)/mammocalc train --out build/weights

clean:
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
