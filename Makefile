# The project's commands. Each creates the environment that it needs; `make help` lists them.

VENV := .venv
READY := $(VENV)/.ready
PYTHON ?= python3
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-build-isolation
LOCKS := requirements/build.txt requirements/dev.txt
TOOLS := .tools_cache
COMPILE = pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" $(UPGRADE)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env repro doctor bench record race torture test check audit format lock clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: $(READY) ## create or update the environment in .venv

# pip would compile one file after the other; compileall takes all cores, and leaves out the packages'
# own tests. Files that are no Python of this version stay as they are: nothing imports them.
# Every file that pip takes must have a hash of the lock; that of the project itself has none, so it
# comes last and alone. setuptools comes first: one package is built, and builds by nothing else.
$(READY): pyproject.toml $(LOCKS)
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("cnnpipe needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	for lock in $(LOCKS); do $(PIP) --require-hashes --requirement $$lock || exit 1; done
	PYTHONWARNINGS=ignore $(PIP) --no-deps --editable .  # setuptools warns of what is asked for
	$(VENV)/bin/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	touch $@

repro: $(READY) ## run the pipeline; results in reports/index.html
	python scripts/repro.py

doctor: $(READY) ## hash all results and DVC's cache anew, and name what is damaged
	python scripts/doctor.py

bench: $(READY) ## race the own layers against torch's anew; reports/benchmark.json
	dvc repro --single-item --force benchmark

record: $(READY) ## run the record settings over five seeds, for hours; reports/records.json
	python scripts/record.py

race: $(READY) ## time to 99 % and 99.5 % against a tutorial's loop, about 50 minutes; reports/race.json
	python scripts/race.py

torture: $(READY) ## try to break every promise, for half an hour; docs/reliability.md
	python -m torture

test: $(READY) ## run the tests
	pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(READY) ## format, lint, types, import floors
	ruff format --check .
	ruff check .
	oxlint --deny-warnings cnnpipe/report/scripts cnnpipe/compare
	djlint --quiet --lint cnnpipe/report
	mypy
	lint-imports

audit: $(TOOLS)/bin/pip-audit ## look the locked versions up among known vulnerabilities, over the network
	$< --strict --progress-spinner off --require-hashes --disable-pip $(addprefix --requirement ,$(LOCKS))

format: $(READY) ## format the code and mend what the linter can
	ruff format .
	ruff check --fix .

lock: $(TOOLS)/bin/uv ## lock what pyproject.toml asks for; to the newest: make lock UPGRADE=--upgrade
	$< $(COMPILE) --extra dev --output-file requirements/dev.txt pyproject.toml
	echo setuptools | $< $(COMPILE) --constraint requirements/dev.txt --output-file requirements/build.txt -

# Tools for rare use, in an environment of their own.
$(TOOLS)/bin/%:
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check $*

clean: ## remove the environment and caches; data, models and reports stay
	rm -rf $(VENV) $(TOOLS) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
