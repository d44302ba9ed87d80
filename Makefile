# Everything here needs Python 3.11 or newer and make, nothing else: each target builds the virtual
# environment it needs under .venv*/ from pyproject.toml, once.
#
#   make test PYTHON=/path/to/python3    uses that Python instead of the first one found

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

ROOT := $(CURDIR)
WHEELS := $(ROOT)/build/wheel
# Each job has a folder of its own, so that `make -j3 test` works; but some tests measure time.
RUN = $(ROOT)/build/run/$@
COVERAGE := $(ROOT)/build/coverage
MAIN := $(ROOT)/.venv
LOWEST := $(ROOT)/.venv-lowest
OTHER := $(ROOT)/.venv-other
DEMO := $(ROOT)/.venv-demo
BENCH := $(ROOT)/.venv-bench
PEERS := $(ROOT)/.venv-peers
DOCS := $(ROOT)/.venv-docs
SITE := $(ROOT)/build/docs
PY := $(MAIN)/bin/python

ifndef PYTHON
PYTHON := $(shell sh .ci/find-python)
endif

# One process more than there are cores, because many tests wait for real processes and sockets.
# `make cover PARALLEL=` runs the tests one after the other.
CORES := $(or $(shell getconf _NPROCESSORS_ONLN 2>/dev/null),2)
PARALLEL := -n $(shell expr $(CORES) + 1) --dist worksteal
# The source tree, and not a wheel that an earlier job has installed.
FROM_HERE := PYTHONPATH=$(ROOT)
# The searches find what is wrong with the library whatever it runs on, and are slow when they are
# traced: one job has them, and it has nothing else.
SEARCHES := $(addprefix tests/,brain/test_search.py \
	runtime/test_cost_growth.py chaos conformance/test_otp_scale.py model \
	mutants soak finds runtime/test_interrupt.py runtime/test_scale.py kit/test_finds_bugs.py \
	kit/test_kit.py kit/test_no_false_alarm.py kit/test_drift.py kit/test_faults.py \
	kit/test_hunt.py kit/test_incident.py)
NO_SEARCHES := $(addprefix --ignore=,$(SEARCHES))

# What `lowest` and `other` run: the tests that need long find nothing there that the first Python does
# not show, but for those of adapters to other libraries. `make other WITH=` runs all of them.
WITH := -m "not slow or libraries"

# What is linted and type-checked; later parts of the project count as soon as they are there.
CODE := trio_supervisor $(wildcard tests examples benchmarks .ci/*.py)
# What the tests get to see beside the installed wheel.
TEST_FILES := pyproject.toml .ci $(wildcard Makefile README.md CHANGELOG.md tests examples benchmarks docs)
# What coverage reports, but does not ask to be whole; see `omit` in pyproject.toml.
BESIDE := $(wildcard trio_supervisor/testing trio_supervisor/daemon trio_supervisor/http \
	trio_supervisor/children)
# In tests and programs a body need not contain a checkpoint on every path (91x), a fixture may hold
# a nursery across its yield (900), and a nursery with a single task may be the very point (112).
# The testing kit catches, keeps and plants what others must let through (10x), on purpose.
# No task waits in these rooms, so no `Cancelled` can arrive in a handler there that catches whatever a
# user's object raises (10x). The private functions of a surface need no checkpoint on every path
# (91x), and the generator of an event stream is closed by the connection that reads it (900).
ASYNC_ROOMS := $(foreach room,_text.py _errors.py _events/* _specs/* _logging/*,\
	trio_supervisor/$(room):ASYNC103,ASYNC104) $(foreach room,control/* http/*,\
	trio_supervisor/$(room):ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913)
ASYNC_KIT := ASYNC101,ASYNC103,ASYNC104,ASYNC124
# Tests also play bodies that do what one should not (110, 111, 114, 124, 128).
ASYNC_OFF := ASYNC110,ASYNC111,ASYNC112,ASYNC114,ASYNC124,ASYNC128,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913

# $(call make-venv,FOLDER,[--lowest] WHAT...): does nothing when it is there already.
define make-venv
@test -n "$(PYTHON)" || { echo "make: no Python to work with; see above" >&2; exit 1; }
@"$(PYTHON)" .ci/environment.py $(1) $(2)
endef

# $(call install-wheel,FOLDER): the wheel itself, never the source tree.
define install-wheel
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index \
	--force-reinstall $(WHEELS)/*.whl
endef

# $(call run-tests,FOLDER,WRAPPER,SEED,ARGUMENTS): in a folder from which the source tree cannot be
# imported, against the wheel that is installed in FOLDER.
define run-tests
@rm -rf $(RUN) && mkdir -p $(RUN) && cp -R $(TEST_FILES) $(RUN)
cd $(RUN) && SUPERVISOR_SOURCE=$(ROOT)/trio_supervisor SCHEDULE_SEED=$(3) \
	$(1)/bin/python $(2) -m pytest $(PARALLEL) $(4)
endef

.PHONY: help
help:
	@echo "make quick      after each edit: from the checkout, without the slow tests; T=... for pytest"
	@echo "make test       what has to pass: lint, typecheck, cover, searches, lowest, other, docs"
	@echo "make lint       ruff and flake8-async"
	@echo "make format     let ruff rewrite what it can"
	@echo "make typecheck  mypy --strict, pyright, completeness of the public types"
	@echo "make tests      all tests against the built wheel; T=... for pytest"
	@echo "make cover      all but the searches, with branch coverage"
	@echo "make searches   the searches alone"
	@echo "make lowest     the fast tests with the lowest allowed versions of the dependencies"
	@echo "make other      the fast tests with another Python, if the machine has one; WITH= for all"
	@echo "make docs       the documentation site, in build/docs, and the programs on its pages"
	@echo "make demo       run the example daemon"
	@echo "make mutants    plant bugs in the library; each has to be found; A=... for its arguments"
	@echo "make bench      measure; A=... for its arguments"
	@echo "make chaos      storms, stubborn children, full load, on the real clock; A=--full"
	@echo "make deep-search  the search of the brain, for longer; A=\"--minutes 30\""
	@echo "make soak       search for failures for a while; A=... for its arguments"
	@echo "make slow-list  measure anew which tests are slow"
	@echo "make release    VERSION=x.y.z: version, changelog, checks"
	@echo "make clean      remove everything that was built, environments too"

# The checks that use one core each run side by side, the tests one job after the other.
SIDE_BY_SIDE := -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: test
test:
	@$(MAKE) $(SIDE_BY_SIDE) lint typecheck docs
	@$(MAKE) cover searches lowest other
	@echo "make test: everything has passed"

# What one runs after each edit: no wheel, no copy, no coverage.
.PHONY: quick
quick: venv
	@$(PY) -m ruff check --quiet $(CODE) && $(PY) -m ruff format --check --quiet $(CODE)
	@$(FROM_HERE) $(PY) -m pytest -q -r fE $(PARALLEL) -m "not slow" --hypothesis-profile=quick $(T)

.PHONY: slow-list
slow-list: venv
	$(FROM_HERE) $(PY) -m pytest -q -r fE --write-slow-list

.PHONY: tests
tests: wheel
	$(call run-tests,$(MAIN),,0,$(T))

.PHONY: searches
searches: wheel
	$(call run-tests,$(MAIN),,0,$(SEARCHES))

.PHONY: venv
venv:
	$(call make-venv,$(MAIN),core dev)

.PHONY: wheel
wheel: venv
	@rm -rf $(WHEELS)
	@$(PY) -m hatchling build --target wheel --directory $(WHEELS) >/dev/null
	$(call install-wheel,$(MAIN))

.PHONY: lint
lint: venv
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) .ci/words.py trio_supervisor
	$(PY) -m flake8 --isolated --select=ASYNC --per-file-ignores="$(ASYNC_ROOMS)" \
		--exclude=trio_supervisor/testing trio_supervisor
	$(PY) -m flake8 --isolated --select=ASYNC --extend-ignore=$(ASYNC_OFF),$(ASYNC_KIT) \
		trio_supervisor/testing
	$(PY) -m flake8 --isolated --select=ASYNC --extend-ignore=$(ASYNC_OFF) \
		$(filter-out trio_supervisor,$(CODE))

.PHONY: format
format: venv
	$(PY) -m ruff check --fix --exit-zero --quiet $(CODE)
	$(PY) -m ruff format $(CODE)

.PHONY: typecheck
typecheck: wheel
	$(PY) -m mypy --strict $(filter-out tests,$(CODE))
	@# Tests look twice at things that change in between; mypy takes the second look for a mistake.
	$(PY) -m mypy --strict --cache-dir=.mypy_cache/tests --no-warn-unreachable \
		--disable-error-code=comparison-overlap tests
	PATH=$(MAIN)/bin:$$PATH pyright
	@# Where only the installed wheel can be found. --verifytypes heeds no --pythonpath.
	@rm -rf $(ROOT)/build/verify && mkdir -p $(ROOT)/build/verify
	cd $(ROOT)/build/verify && PATH=$(MAIN)/bin:$$PATH \
		pyright --ignoreexternal --verifytypes trio_supervisor

.PHONY: cover
cover: wheel
	@rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	$(call run-tests,$(MAIN),-m coverage run --data-file=$(COVERAGE)/data,0,$(NO_SEARCHES) $(T))
	@$(PY) -m coverage combine --quiet --data-file=$(COVERAGE)/data
	@echo "The core, which has to be covered whole:"
	$(PY) -m coverage report --data-file=$(COVERAGE)/data
	@if [ -n "$(BESIDE)" ]; then echo "Beside the core:"; $(PY) -m coverage report \
		--data-file=$(COVERAGE)/data --fail-under=0 --omit=none \
		--include='trio_supervisor/testing/*,trio_supervisor/daemon/*,trio_supervisor/http/*,trio_supervisor/children/*' || true; fi

.PHONY: lowest
lowest: wheel
	$(call make-venv,$(LOWEST),--lowest core tests)
	$(call install-wheel,$(LOWEST))
	$(call run-tests,$(LOWEST),,1,$(WITH) $(NO_SEARCHES) $(T))

.PHONY: other
other: wheel
	@other=$$(sh .ci/find-python --other "$(PYTHON)"); \
	if [ -n "$$other" ]; then \
		$(MAKE) on-other OTHER_PYTHON="$$other"; \
	else \
		echo "other: no second Python (3.11 to 3.14) on this machine; nothing to do"; \
	fi

.PHONY: on-other
on-other:
	@"$(OTHER_PYTHON)" .ci/environment.py $(OTHER) core tests
	$(call install-wheel,$(OTHER))
	$(call run-tests,$(OTHER),,2,$(WITH) $(NO_SEARCHES) $(T))

# These run straight from the source tree.

.PHONY: docs
docs:
	$(call make-venv,$(DOCS),core docs tests/pytest-timeout)
	@rm -rf $(SITE)
	$(DOCS)/bin/python -m sphinx -q --fail-on-warning --keep-going -b html docs $(SITE)
	$(DOCS)/bin/python -m pytest -q tests/documentation
	@echo "docs: $(SITE)/index.html"

.PHONY: demo
demo:
	$(call make-venv,$(DEMO),core daemon cli)
	@$(DEMO)/bin/python -m examples.logkeeper --http 127.0.0.1:8024 $(A)

.PHONY: bench
bench:
	$(call make-venv,$(BENCH),core bench daemon metrics)
	@# One of the peers needs Python 3.13; with an older one it is left out, and that is said.
	@peers=$$(sh .ci/find-python --other "$(BENCH)/bin/python"); \
	case "$$($(BENCH)/bin/python -V)" in *" 3.13."*) peers=;; esac; \
	$(BENCH)/bin/python -m benchmarks.install_peers $(PEERS) "$${peers:-$(PYTHON)}"
	$(BENCH)/bin/python -m benchmarks --peers $(PEERS)/bin/python \
		$(if $(A),,--chart docs/_static/performance.png) $(A)
	@# What the control socket costs a busy tree; left out where A= asks for something else.
	@$(if $(A),true,$(BENCH)/bin/python -m benchmarks.control)

.PHONY: mutants
mutants: venv
	$(FROM_HERE) $(PY) -m tests.mutants --jobs 2 $(A)

.PHONY: deep-search
deep-search: venv
	PYTHONPATH=$(ROOT)/tests:$(ROOT) $(PY) -m brain.search --jobs 2 $(A)

.PHONY: chaos
chaos: venv
	$(FROM_HERE) $(PY) -m tests.chaos $(A)

.PHONY: soak
soak: venv
	$(FROM_HERE) $(PY) -m tests.soak $(A)

.PHONY: release
release: venv
	@$(PY) .ci/release.py $(VERSION)

.PHONY: clean
clean:
	rm -rf .venv .venv-lowest .venv-other .venv-demo .venv-bench .venv-peers .venv-docs build dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find trio_supervisor tests -name __pycache__ -type d -prune -exec rm -rf {} +
