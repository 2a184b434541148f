# Every target works from a fresh clone; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
# Set INPUT to a recording for `make demo`, ARGS to what a command is to get besides.
INPUT ?=
ARGS ?=
# How many rounds `make chaos` has played when it ends.
ROUNDS ?= 20
# Tests mostly wait for sound to be played: two processes, each with servers of its own, halve the time.
PARALLEL ?= -n 2 --dist loadfile

# An interpreter that runs here, not only a name on the path; the environment's own first, so that
# another one on the path does not rebuild the environment. Empty where there is none.
PYTHON ?= $(shell for name in $(BIN)/python python3.12 python3.11 python3 python; do \
	"$$name" -c 'import os, sys; assert (3, 11) <= sys.version_info < (3, 13); print(os.path.realpath(sys.executable))' \
	2>/dev/null && break; done)

# uv from the path or else a pinned one of our own. It fetches a Python only where there is none.
BOOTSTRAP := .bootstrap/$(UV_VERSION)
UV ?= $(shell command -v uv || echo $(BOOTSTRAP)/bin/uv)
RUN_UV = python='$(PYTHON)'; \
	if [ -n "$$python" ]; then export UV_PYTHON="$$python" UV_PYTHON_DOWNLOADS=never; fi; \
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV)
SYNC = $(RUN_UV) sync --frozen --quiet

# $(call timed,name,command): run a command and say how long it took.
timed = @echo '== $(1)'; start=$$SECONDS; $(2) && echo "== $(1): $$((SECONDS - start)) s"

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(VENV)/.base ## Hear a first detection; INPUT=file listens to a recording of yours.
	@$(BIN)/earwitness demo $(if $(INPUT),'$(INPUT)') $(ARGS)

.PHONY: check
check: static servers test ## Do all that the build does: format, lint, types, tests.

.PHONY: static
static: $(VENV)/.all ## Check the format, lint and types.
	$(call timed,format,$(BIN)/ruff format --check .)
	$(call timed,lint,$(BIN)/ruff check .)
	$(call timed,types,$(BIN)/mypy)

.PHONY: test
test: $(VENV)/.all ## Run all tests; they start the servers they need. ARGS='-k window' picks some.
	@$(BIN)/python -m pytest $(PARALLEL) --durations=25 $(ARGS)

.PHONY: format
format: $(VENV)/.all ## Format the code and repair what the linter can.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: model
model: $(VENV)/.all ## Make the models that ship: train, choose, measure, compress, write cards; hours on two cores.
	@$(BIN)/python -m earwitness.shipping $(ARGS)

.PHONY: bench
bench: $(VENV)/.all ## Measure on this machine and write docs/benchmarks.md; ARGS='-k latency' picks some.
	@status=0; UV='$(UV)' $(BIN)/python -m pytest tests/bench -o python_files='bench_*.py' -s $(ARGS) || status=$$?; \
	$(BIN)/python -m tests.bench.page $$status && exit $$status

.PHONY: chaos
chaos: $(VENV)/.all servers ## Play rounds of faults against a running system and judge each; ROUNDS=100 in all, it goes on.
	@$(BIN)/python -m tests.chaos --rounds $(ROUNDS) $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.all ## Look for bytes that break the codec, guided by coverage; ARGS='--seconds 600'.
	@$(BIN)/python -m tests.fuzz codec $(ARGS)

.PHONY: security
security: $(VENV)/.all servers ## Show every role by password, certificate and token; `make test` shows the short way.
	@SECURITY_ALL=1 $(BIN)/python -m pytest -q tests/integration/test_security_*.py $(ARGS)

.PHONY: audit
audit: $(VENV)/.all ## Ask PyPI whether any locked dependency has a known vulnerability.
	@$(RUN_UV) export --frozen --all-extras --no-emit-project --quiet --output-file $(VENV)/requirements.txt >/dev/null
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $(VENV)/requirements.txt

.PHONY: kafka
kafka: $(VENV)/.base ## Run a Kafka broker without Docker until Ctrl-C; needs Java.
	@$(BIN)/python -m infra.local kafka $(ARGS)

.PHONY: servers
servers: $(VENV)/.base ## Fetch the servers that tests start, so that the first start is quick.
	$(call timed,servers,{ $(BIN)/python -m infra.local install || echo 'tests skip or fail where they need what is missing here; a Docker engine can stand in for Kafka'; })

.PHONY: environment
environment: $(VENV)/.all ## Make .venv with everything that development needs.

.PHONY: lock
lock: $(firstword $(filter .bootstrap%,$(UV))) ## Choose dependency versions anew within pyproject.toml.
	@$(RUN_UV) lock $(ARGS)

.PHONY: clean
clean: ## Remove what tools leave behind; environments and fetched servers stay.
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -not -path './.bootstrap/*' -prune -exec rm -rf {} +

# Whatever else is in the environment stays, so that a demo does not undo a developer's set-up.
$(VENV)/.base: pyproject.toml uv.lock | $(filter .bootstrap%,$(UV))
	@$(SYNC) --inexact --extra analyst --extra capture
	@touch $@

$(VENV)/.all: pyproject.toml uv.lock | $(filter .bootstrap%,$(UV))
	$(call timed,environment,$(SYNC) --all-extras)
	@touch $(VENV)/.base $@

$(BOOTSTRAP)/bin/uv:
	@python='$(PYTHON)'; \
	[ -n "$$python" ] || { echo 'Python 3.11 or 3.12 is needed (or uv): install one, or name it with PYTHON=' >&2; exit 1; }; \
	"$$python" -m venv $(BOOTSTRAP) && $(BOOTSTRAP)/bin/pip install --quiet uv==$(UV_VERSION)
