# The project's commands; `make help` lists them. Each creates the environment that it needs.

VENV := .venv
READY := $(VENV)/.ready
PYTHON ?= python3
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-build-isolation
LOCKS := requirements/build.txt requirements/dev.txt
TOOLS := .tools_cache
FLOORS := .floors_cache
COMPILE = pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" $(UPGRADE)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env repro docs doctor bench record race claims gpu torture test floors check audit format lock clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: $(READY) ## create or update the environment in .venv

# pip would compile one file after another; compileall uses all cores and skips the tests inside
# packages. It ignores files with the syntax of another Python version: nothing imports them.
# pip accepts only files whose hash is in the lock. The project itself has no hash, so it is installed
# last and separately. setuptools is installed first, as one package has to be built with it.
$(READY): pyproject.toml $(LOCKS)
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("cnnpipe needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	for lock in $(LOCKS); do $(PIP) --require-hashes --requirement $$lock || exit 1; done
	PYTHONWARNINGS=ignore $(PIP) --no-deps --editable .  # setuptools warns of what is asked for
	$(VENV)/bin/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	touch $@

repro: $(READY) ## run the pipeline; results in reports/index.html
	python scripts/repro.py

docs: $(READY) ## write the numbers of the last runs into README.md and docs/
	python scripts/tables.py

doctor: $(READY) ## re-hash all results and DVC's cache, and list what is damaged
	python scripts/doctor.py

bench: $(READY) ## benchmark the project's layers against torch's; reports/benchmark.json
	dvc repro --single-item --force benchmark

record: $(READY) ## train with the record settings and five seeds, takes hours; reports/records.json
	python scripts/record.py

race: $(READY) ## measure the time to 99 % and 99.5 % accuracy, about 50 minutes; reports/race.json
	python scripts/race.py

# Without an environment of its own: it also runs where there is a torch, but no network.
gpu: ## verify and time everything on this machine's GPU, 400 s; reports/gpu.json. REHEARSE=1: small, on the CPU
	python scripts/gpu.py $(if $(REHEARSE),--rehearse)
	$(if $(REHEARSE),,python scripts/tables.py)

claims: $(READY) ## measure the theory's claims with the full budget, an hour or two; reports/claims.json
	python scripts/claims.py
	python scripts/tables.py

torture: $(READY) ## try to break every promise, half an hour; reports/torture.json, docs/reliability.md
	python -m torture
	python scripts/tables.py

test: $(READY) ## run the tests
	pytest -n auto --dist loadfile --no-loadscope-reorder

# One test is left out: it holds what is installed against the lock.
floors: $(TOOLS)/bin/uv ## run the tests with the oldest versions that pyproject.toml allows
	$< venv --quiet --allow-existing $(FLOORS)
	$< pip install --quiet --python $(FLOORS) --resolution lowest-direct --editable '.[dev]'
	$(FLOORS)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		--deselect 'tests/torture/test_torture.py::test_promise[surface.dependencies]'

check: $(READY) ## check format, lint rules, types and imports
	ruff format --check .
	ruff check .
	oxlint --deny-warnings cnnpipe/report/scripts cnnpipe/compare
	python scripts/javascript.py
	djlint --quiet --lint cnnpipe/report
	mypy
	lint-imports

audit: $(TOOLS)/bin/pip-audit ## check the locked versions for known vulnerabilities, over the network
	$< --strict --progress-spinner off --require-hashes --disable-pip $(addprefix --requirement ,$(LOCKS))

format: $(READY) ## format the code and apply the linter's fixes
	ruff format .
	ruff check --fix .

lock: $(TOOLS)/bin/uv ## lock the dependencies of pyproject.toml; newest versions: make lock UPGRADE=--upgrade
	$< $(COMPILE) --extra dev --output-file requirements/dev.txt pyproject.toml
	echo setuptools | $< $(COMPILE) --constraint requirements/dev.txt --output-file requirements/build.txt -

# Tools that are rarely used have a separate environment.
$(TOOLS)/bin/%:
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check $*

clean: ## remove the environment and caches; data, models and reports stay
	rm -rf $(VENV) $(TOOLS) $(FLOORS) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
