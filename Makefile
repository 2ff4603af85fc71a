# `make help` lists the goals. Ninja does the work, and does it in parallel; make only names it.
.NOTPARALLEL:
.DEFAULT_GOAL := build
SHELL := /bin/bash

RELOADS ?= 20
DURATION ?=
RATE ?=
SEED ?=
SECONDS_EACH := $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60)

PY := tools/python.sh
CHECK := $(PY) tools/check.py

.PHONY: help build programs demo check run setup unit asan tsan pytest fuzz bench microbench zero-drop soak lint format clean

help: ## this list
	@printf 'Everything there is, in two commands, on a fresh Debian machine:\n'
	@printf '  make demo    make check\n\nAll goals:\n'
	@awk -F ':.*## ' '/^[a-z0-9.%-]+:.*## / {sub("%", "N", $$1); printf "  %-21s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: programs ## (the default goal) build lb/lb and the harness's programs
	@echo 'lb/lb is built; make run starts it, make demo puts it to the proof.'

programs:
	@tools/setup.sh --check build
	@tools/build.sh release programs

demo: ## install what is missing, build, prove live that 20 reloads drop nothing; report in build/demo/
	@tools/setup.sh build
	@tools/build.sh release programs
	@tools/demo.sh

check: ## install what is missing, run every test: unit, sanitizers, fuzz, pytest, labs
	@tools/setup.sh build test
	@$(CHECK)

run: programs ## start lb/lb on a sample configuration with three sample backends, until Ctrl-C
	@$(PY) tools/run_sample.py

zero-drop: programs ## the proof at length: RELOADS=20 DURATION=s RATE=n SEED=n
	@mkdir -p build/zero-drop
	@$(PY) harness/reload_zero_drop.py --reloads $(RELOADS) $(if $(DURATION),--duration $(DURATION)) \
	  $(if $(RATE),--rate $(RATE)) $(if $(SEED),--seed $(SEED)) \
	  --json build/zero-drop/result.json --html build/zero-drop/report.html

soak: programs ## reloads every second for an hour with everything on, memory and files watched: DURATION=s ARGS='--faults'
	@$(PY) harness/soak.py $(if $(DURATION),--duration $(DURATION)) $(if $(RATE),--rate $(RATE)) $(if $(SEED),--seed $(SEED)) $(ARGS)

unit: ## unit tests only
	@tools/setup.sh --check build
	@$(CHECK) unit

asan: ## unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/setup.sh --check build test
	@$(CHECK) asan

tsan: ## unit tests of the modules where threads meet, under ThreadSanitizer
	@tools/setup.sh --check build test
	@$(CHECK) tsan

pytest: ## harness/tests against the real programs; ARGS='-k drain -x' goes to pytest
	@tools/setup.sh --check build test
	@$(CHECK) pytest --pytest-args '$(ARGS)'

fuzz: ## each fuzz target for SECONDS=60
	@tools/setup.sh --check build test
	@$(CHECK) fuzz --fuzz-seconds $(SECONDS_EACH)

bench: ## lb beside HAProxy and nginx: build/bench/report.html; ARGS='--quick keepalive body-1m', see ARGS=--help
	@tools/setup.sh --check build
	@tools/build.sh release programs
	@$(PY) harness/bench.py --json build/bench/result.json --html build/bench/report.html $(ARGS)

microbench: ## Google Benchmark programs of the modules: parser, balancing, rate limit, timers
	@tools/setup.sh --check build
	@tools/build.sh release benches
	@tools/bench.sh

lint: ## formatting, clang-tidy, include rule, style, Python and shell linters
	@tools/setup.sh build lint
	@$(PY) tools/lint.py

format: ## format all C++ files in place
	@tools/setup.sh --check lint
	@$(PY) tools/lint.py --format

setup: ## install the Debian packages that are missing (tools/packages.txt)
	@tools/setup.sh

clean: ## delete everything that was built, tools' caches included
	@rm -rf build lb/lb

include $(sort $(wildcard tools/*.mk))
