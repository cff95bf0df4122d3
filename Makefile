# The two commands of this project are `make scenarios` and `make test`; both set everything up first, in no time
# when nothing has changed. ARGS goes to pytest: make scenarios ARGS="-k refused -n 2"

PYTHON := .venv/bin/python
BENCH ?=
ARGS ?=

.PHONY: scenarios test lint bench setup

scenarios: setup
	$(PYTHON) -m pytest scenarios/ $(ARGS)

test: setup
	$(PYTHON) -m pytest tests/ scenarios/ $(ARGS)

lint: setup
	$(PYTHON) -m pytest tests/test_lint.py tests/test_layers.py $(ARGS)

bench: setup
	$(PYTHON) -m benchmarks $(BENCH)

setup:
	@scripts/setup
	@scripts/toxiproxy
