# The two commands of this project are `make scenarios` and `make test`; both set everything up first, in no time
# when nothing has changed. ARGS goes to pytest: make scenarios ARGS="-k refused -n 2"

PYTHON := .venv/bin/python
BENCH ?=
ARGS ?=

# Hundreds of interpreters are started, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: scenarios test test-in-engine lint bench setup

scenarios: setup
	$(PYTHON) -m pytest scenarios/ $(ARGS)

# With the Docker Engine that answers, or a throwaway one (root on Debian); without one the docker tests are skipped.
test: WITH := --engine
test: setup
	scripts/engine $(MAKE) --no-print-directory test-in-engine

test-in-engine:
	scripts/node-image || true
	$(PYTHON) -m pytest -n auto --dist loadfile tests/ scenarios/ $(ARGS)

lint: setup
	$(PYTHON) -m pytest tests/test_lint.py tests/test_layers.py $(ARGS)

bench: setup
	$(PYTHON) -m benchmarks $(BENCH)

setup:
	@scripts/toxiproxy & built=$$!; scripts/setup $(WITH) && wait $$built
