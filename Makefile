# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo

.PHONY: help demo test lint unit doc peers demo-all bench soak deps release clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## the main job, told as a story, on embedded defaults
	@$(CARGO) build --quiet --bin placet
	@./target/debug/placet demo

test: deps lint unit doc demo-all peers ## everything that must be green, with what it needs installed

deps: ## what the tests need, printed and installed if missing
	@bash scripts/deps.sh

lint: ## formatting, lints, tidy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	$(CARGO) run --quiet --package xtask -- tidy

unit: ## unit, property, compile-fail and process tests
	$(CARGO) nextest run --workspace --no-fail-fast

doc: ## documentation examples
	$(CARGO) test --workspace --doc --quiet
	$(CARGO) run --quiet --package xtask -- docs --check

demo-all: ## the demo with every scene; fails unless all came out as told
	@$(CARGO) build --quiet --bin placet
	./target/debug/placet demo --all

peers: ## real MCP clients and servers, OPAL on both sides, OPA and cedarpy beside the engines, OCSF validated
	@bash peers/install.sh
	@$(CARGO) build --quiet --bin placet
	$(CARGO) run --quiet --package xtask -- peers
	$(CARGO) nextest run --workspace --run-ignored only --no-fail-fast -E 'package(placet-sync) or package(placet-policy) or package(placet-verify) or (package(placet-testing) and (test(/^streams::/) or test(people_peers))) or test(archive::a_bucket) or test(order::)'

bench: ## criterion benches and `placet bench`, in release
	$(CARGO) bench --workspace
	$(CARGO) run --release --quiet --bin placet -- bench gateway

soak: ## the long forms: more cases of every property, long fuzzing, kill -9 in a loop
	PROPTEST_CASES=20000 PLACET_SOAK=1 $(CARGO) nextest run --workspace --no-fail-fast
	$(CARGO) run --quiet --package xtask -- fuzz --seconds 300

release: ## the binary that people install
	$(CARGO) build --release --bin placet
	@ls -l target/release/placet

clean: ## everything that was built or installed here
	$(CARGO) clean
	rm -rf .peers
