# What one does with this tree. The work is in scripts/setup.sh (before Rust) and xtask/ (after it).
#   make run ARGS='--listen 0.0.0.0:7860 --auth login'
SHELL := /bin/bash
TARGET := $(or $(CARGO_TARGET_DIR),target)
XTASK := cargo xtask

.PHONY: setup xtask model build run test lint bench

setup:
	@scripts/setup.sh

# `cargo xtask` would build itself without a word.
xtask: setup
	@cargo build --release --package xtask

model: xtask
	@$(XTASK) model

build: xtask
	@$(XTASK) build

run: model build
	@exec $(TARGET)/release/knowlm serve $(ARGS)

# xtask is tested apart: its dependencies would otherwise switch on features that the program is built without,
# and half of everything would be compiled twice.
test: model build
	cargo test --release --workspace --exclude xtask
	cargo test --release --package xtask
	@$(XTASK) e2e

lint: setup
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	@cargo build --release --package xtask
	@$(XTASK) lint-browser

bench: model build
	@$(XTASK) bench $(ARGS)
