# Each target sets up what it needs: a virtual environment in .venv and the Rust module in it.
# Needed beforehand: Python 3.10+, a Rust toolchain, make.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench build clean

# Trains a tokenizer on the Python standard library's source and shows what it does.
demo: build
	$(BIN)/python -m scripts.demo

# All tests: the Rust core's, then the Python package's.
test: build .venv/dev
	cargo test --quiet
	$(BIN)/python -m pytest

lint: .venv/dev
	cargo fmt --check
	cargo clippy --quiet --all-targets --features python -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tables of docs/benchmarks.md; CORPUS names one or more text files.
bench: build .venv/bench
	$(BIN)/python -m benchmarks.tok_train --corpus $(CORPUS) --vocab-size 32768

build: .venv/base
	$(BIN)/maturin develop --release --quiet

.venv/base:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" "maturin>=1.9,<2"
	touch $@

# A dependency group of pyproject.toml.
.venv/%: .venv/base pyproject.toml
	$(BIN)/python -m pip install --quiet --group $*
	touch $@

clean:
	rm -rf .venv target
