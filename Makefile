# Each target sets up what it needs: a virtual environment in .venv and the Rust module in it.
# Needed beforehand: Python 3.10+, a Rust toolchain, make. Where PYTHON has torch already, the
# environment uses it; otherwise pip fetches its default build, which takes 5 GB on Linux (pip's own
# variables are honoured: PIP_EXTRA_INDEX_URL may name an index of builds without CUDA).

PYTHON ?= python3
BIN := .venv/bin
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-gpu gpu-check test test-rust test-python models sanitize lint lint-rust lint-python \
  workflows docs wheel wheel-check bench fuzz build clean

# The whole way on the Python standard library's source: tokenizer, shards, a small model, an assistant.
# ARGS=--quick shows that it runs, ARGS=--resume goes on after a kill; --help lists what else there is.
demo: .venv/lm .venv/chat build
	$(BIN)/python -m scripts.demo $(ARGS)

# The same with a model that is worth a GPU.
demo-gpu: .venv/lm .venv/chat build
	$(BIN)/python -m scripts.demo --gpu $(ARGS)

# Whether the model stack is right on the GPU that is there, and how fast.
gpu-check: .venv/lm build
	$(BIN)/python -m bytemill.gpu_check $(ARGS)

# All tests: the Rust core's, then the Python package's, a process for each core and eight at most.
test: test-rust test-python

test-rust:
	cargo test --quiet

test-python: .venv/dev build
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# Models of the cache that threads share and of the threads themselves, under loom and shuttle: the core's
# own source files with model checkers' atomics and threads. MODELS=cache runs those named so.
models:
	cargo run --quiet --manifest-path rust/models/Cargo.toml --target-dir target/models -- $(MODELS)

# Formatting, lints and types; the floors: which room may import which; the workflows.
lint: lint-rust lint-python workflows

lint-rust:
	cargo fmt --check
	cargo fmt --check --manifest-path rust/models/Cargo.toml
	cargo fmt --check --manifest-path rust/unsafe_parts/Cargo.toml
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --quiet --all-targets --features python -- -D warnings
	cargo test --quiet --test floors

lint-python: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=python $(BIN)/lint-imports

# actionlint where it is installed (its package on PyPI has to download the program); otherwise the
# schema of workflow files.
workflows: .venv/dev
	if command -v actionlint >/dev/null; then actionlint; else \
	  $(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml; fi

# The documentation, in site/; `$(BIN)/mkdocs serve` shows it while it is written.
docs: .venv/dev .venv/docs build
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The wheel for this machine, in dist/, from the same build as the module in .venv.
wheel: .venv/base
	rm -rf dist
	$(BIN)/maturin build --release --strip --quiet --out dist

# It is small, and works in an environment that has nothing else.
wheel-check: wheel
	$(BIN)/python .ci/wheel_check.py dist

# The tables of docs/benchmarks.md; CORPUS names one or more text files.
bench: .venv/dev .venv/bench build
	$(BIN)/python -m benchmarks.tok_train --corpus $(CORPUS) --vocab-size 32768

# Every fuzz target for SECONDS each; SANITIZER=none is faster.
SECONDS ?= 60
SANITIZER ?= address
FUZZ := pretokenize compiled encode decode stream counts_file counts_bytes
fuzz: .venv/dev build
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz
	for t in $(FUZZ); do mkdir -p fuzz/corpus/$$t && (cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run \
	  -s $(SANITIZER) $$t corpus/$$t seeds/$$t -- -max_total_time=$(SECONDS)) || exit 1; done
	$(BIN)/python -m fuzz.readers --seconds $(SECONDS)
	$(BIN)/python -m fuzz.compositions --seconds $(SECONDS)
	$(BIN)/python -m fuzz.memory --seconds $(SECONDS)

# The core's files with `unsafe` code, and their tests, under AddressSanitizer and under Miri. Needs a
# nightly toolchain with the components miri and rust-src. CONTRIBUTING.md says what is watched by what.
NIGHTLY ?= +nightly
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
UNSAFE := --quiet --manifest-path rust/unsafe_parts/Cargo.toml
AVX2 := -Ctarget-feature=+avx2,+bmi1,+bmi2,+lzcnt,+popcnt
sanitize:
	BYTEMILL_CASES=100 RUSTFLAGS=-Zsanitizer=address \
	  cargo $(NIGHTLY) test $(UNSAFE) --lib --target $(HOST) --target-dir target/address
	BYTEMILL_CASES=1 RUSTFLAGS="$(AVX2)" MIRIFLAGS=-Zmiri-disable-isolation \
	  cargo $(NIGHTLY) miri test $(UNSAFE) --lib --target-dir target/miri -- --skip a_larger_table

# Into python/, where what was installed with an extra finds it.
build: .venv/base
	$(BIN)/maturin develop --release --strip --quiet --skip-install

.venv/base:
	$(PYTHON) -m venv $$($(PYTHON) -c "import torch" 2>/dev/null && echo --system-site-packages) .venv
	$(BIN)/python -m pip install "maturin>=1.9,<2"
	touch $@

# What an extra of pyproject.toml names, or several with commas between them.
.venv/%: .venv/base pyproject.toml
	$(BIN)/maturin develop --release --strip --quiet --extras $*
	touch $@

clean:
	rm -rf .venv target dist site
