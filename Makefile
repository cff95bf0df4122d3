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

# In several workers, which wait for most of their time. What fails beside the others is run once more alone, and that
# counts: many tests are of the kernel's timers, and a machine that is too busy for them is no defect of ours.
SUITE = $(PYTHON) -m pytest -o cache_dir=.cache/pytest tests/ scenarios/

# The image is built beside the first tests; who needs it waits for the lock, which its builder holds until it ends.
test-in-engine:
	@mkdir -p .cache; exec 9> .cache/node-image.lock; flock 9; scripts/node-image & exec 9>&-; \
	$(SUITE) --cache-clear -n auto --dist loadfile $(ARGS) || { [ $$? -eq 1 ] && \
	    echo "make test: what failed beside others is run again, alone" && $(SUITE) --last-failed --last-failed-no-failures=none $(ARGS); }; \
	ended=$$?; wait; exit $$ended

lint: setup
	$(PYTHON) -m pytest tests/test_lint.py tests/test_layers.py $(ARGS)

bench: setup
	$(PYTHON) -m benchmarks $(BENCH)

setup:
	@scripts/toxiproxy & built=$$!; scripts/setup $(WITH) && wait $$built
