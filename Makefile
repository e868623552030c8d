# Two commands matter: `make demo` and `make test`. The build folder lies outside
# the checkout, so that a fresh clone reuses what is already compiled.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(HOME)/.cache/tarn/target

# How release binaries are compiled on x86-64: for processors from 2013 on (AVX2, BMI2, FMA). Elsewhere, and with
# `make build RELEASE_RUSTFLAGS=`, for all of the architecture.
RELEASE_RUSTFLAGS ?= $(if $(filter x86_64,$(shell uname -m)),-C target-cpu=x86-64-v3)
RELEASE_BUILD = RUSTFLAGS="$(RELEASE_RUSTFLAGS)" cargo build --locked --release --bin tarn

# Given to the benchmark, e.g. `make bench BENCH_ARGS="--rows 1000000 --only transfer"`.
BENCH_ARGS ?=

# The same for TPC-H, e.g. `make bench-tpch TPCH_ARGS="--scale-factor 1 --queries 9,18 --engines tarn,duckdb"`.
TPCH_ARGS ?=

# The same for scans, e.g. `make bench-scans SCAN_ARGS="--only planning --files 10000"`.
SCAN_ARGS ?=

BENCH_PYTHON = "$${TARN_CACHE_DIR:-$(HOME)/.cache/tarn}/venv/bin/python"

# Given to `tarn demo`, e.g. `make demo DEMO_ARGS=--exit`.
DEMO_ARGS ?=

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: demo
demo: ## Build, start a server with two workers, load TPC-H, run and check its 22 queries
	@scripts/require.sh cargo cc
	$(RELEASE_BUILD)
	@"$(CARGO_TARGET_DIR)/release/tarn" demo $(DEMO_ARGS)

.PHONY: build
build: ## Build the release binary
	@scripts/require.sh cargo cc
	$(RELEASE_BUILD)
	@echo "$(CARGO_TARGET_DIR)/release/tarn"

.PHONY: check
check: ## Formatting, lints and the rules of the house
	@scripts/require.sh cargo cc fmt clippy
	cargo fmt --all --check
	cargo xtask tidy
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: test-tools
test-tools: ## Install what the tests need: clients, S3 and PostgreSQL
	@scripts/require.sh python3
	@scripts/test-tools.sh

.PHONY: test
test: ## Install what the tests need and run every check and test
	@scripts/require.sh cargo cc fmt clippy python3
	@scripts/test-tools.sh
	@$(MAKE) --no-print-directory check
	cargo test --locked --workspace --no-run
	cargo xtask docs --check
	cargo test --locked --workspace

# Given to the zoo's makers, e.g. `make zoo ZOO_ARGS="--only refs"`.
ZOO_ARGS ?=

.PHONY: zoo
zoo: ## Make the tables of tests/zoo again with Spark and PyIceberg, read them, and let Spark read ours
	@scripts/require.sh cargo cc python3
	@scripts/test-tools.sh zoo
	"$${TARN_CACHE_DIR:-$(HOME)/.cache/tarn}/venv-spark/bin/python" -B tests/zoo/make.py $(ZOO_ARGS)
	"$${TARN_CACHE_DIR:-$(HOME)/.cache/tarn}/venv/bin/python" -B tests/zoo/make_python.py $(ZOO_ARGS)
	"$${TARN_CACHE_DIR:-$(HOME)/.cache/tarn}/venv/bin/python" -B tests/zoo/make_duckdb.py $(ZOO_ARGS)
	cargo test --locked --workspace --features tarn/zoo --test it zoo

# Seconds that each fuzzer runs.
FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: ## Run each fuzzer for a minute (FUZZ_SECONDS)
	@scripts/require.sh cargo cc
	@fuzz/run.sh "$(FUZZ_SECONDS)"

.PHONY: bench
bench: bench-tpch bench-doors bench-scans ## Build, then time queries, doors and scans beside their peers (some 45 minutes)

.PHONY: bench-tpch
bench-tpch: bench-tools ## TPC-H beside DuckDB and DataFusion over the same tables (TPCH_ARGS)
	@"$${TARN_CACHE_DIR:-$(HOME)/.cache/tarn}/venv-bench/bin/python" benches/tpch.py --binary "$(CARGO_TARGET_DIR)/release/tarn" $(TPCH_ARGS)

.PHONY: bench-doors
bench-doors: bench-tools ## Doors beside PostgreSQL and DuckDB (BENCH_ARGS)
	@$(BENCH_PYTHON) benches/doors.py --binary "$(CARGO_TARGET_DIR)/release/tarn" $(BENCH_ARGS)

.PHONY: bench-scans
bench-scans: bench-tools ## Planning over many files, and what deletes cost (SCAN_ARGS)
	@$(BENCH_PYTHON) benches/scans.py --binary "$(CARGO_TARGET_DIR)/release/tarn" $(SCAN_ARGS)

# The same for lost workers, e.g. `make bench-kills KILLS_ARGS="--kills 10 --seed 1"`.
KILLS_ARGS ?=

.PHONY: bench-kills
bench-kills: bench-tools ## What a query costs whose worker is killed or stops (KILLS_ARGS)
	@$(BENCH_PYTHON) benches/kills.py --binary "$(CARGO_TARGET_DIR)/release/tarn" $(KILLS_ARGS)

.PHONY: bench-tools
bench-tools:
	@scripts/require.sh cargo cc python3
	@scripts/test-tools.sh bench
	$(RELEASE_BUILD)

.PHONY: docs
docs: ## Rewrite the generated pages of docs/
	@scripts/require.sh cargo cc
	cargo test --locked --workspace --no-run
	cargo xtask docs --write
