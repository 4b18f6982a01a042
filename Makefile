# make demo: everything from nothing to a result table. make check: lint and the fast tests, in a
# minute. make test: all tests.
# make reproduce YEAR=2022 SYSTEM="ae idnn": a year's published results, see docs/reproduce.md.
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo reproduce check test fuzz kill-test cluster-test lint audit licences clean

demo: $(VENV)/installed
	$(BIN)/python -m tools.demo_data --to demo --machine fan gearbox valve
	$(BIN)/python 00_train.py -d --config tools/demo.yaml
	$(BIN)/python 01_test.py -d --config tools/demo.yaml
	$(BIN)/python 02_report.py --config tools/demo.yaml --to demo/report
	@echo "sounds:  demo/dev_data"
	@echo "models:  demo/model/ae    (with the loss of every epoch: history_*.csv, history_*.png)"
	@echo "results: demo/result/ae   (result.csv is the table above; one score and one decision a clip beside it)"
	@echo "report:  demo/report/report.html    (tables, pictures, and the clips to listen to; open it in a browser)"

# ARGS: more options, such as ARGS="--dev --dry-run".
YEAR ?= 2022
SYSTEM ?= ae
reproduce: $(VENV)/installed
	$(BIN)/python -m tools.reproduce $(YEAR) --system $(SYSTEM) $(ARGS)

# One process per core, each on one thread.
PYTEST := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n auto

# Lint, and the tests without the marker `slow`.
check: lint
	$(PYTEST) -m "not slow"

test: $(VENV)/installed-dev
	$(PYTEST) --dist loadfile --no-loadscope-reorder

# Wavs and names of every kind, other ones each time.
fuzz: $(VENV)/installed-dev
	FUZZ_CASES=2000 $(BIN)/python -m pytest -q tests/test_fuzz.py

# Training and testing killed fifty times at random moments.
kill-test: $(VENV)/installed-dev
	$(BIN)/python -m tests.kill --kills 50

# Two nodes of a Ray cluster on this machine, one of which dies.
cluster-test: $(VENV)/installed-dev
	CLUSTER_TEST=1 $(BIN)/python -m pytest tests/engine/test_ray_cluster.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	{ echo "Python 3.10 to 3.13 is needed; $(PYTHON) is not one. Try: make demo PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements.txt requirements-cluster.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# Known vulnerabilities of the pinned packages. Without an answer for a package it fails (--strict).
audit: | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip \
	$(addprefix --requirement ,$(sort $(wildcard requirements*.txt)))

# THIRD_PARTY.md: the licences of the packages in requirements.txt. Those that only Python 3.13
# needs are unpacked beside pip-licenses, so that the table is the same for every Python.
LICENCES := $(VENV)/licences
PIP_INTO_LICENCES := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--upgrade --target $(LICENCES)/packages
licences: $(VENV)/installed
	rm -rf $(LICENCES)
	$(PIP_INTO_LICENCES) pip-licenses==5.5.5
	$(PIP_INTO_LICENCES) --python-version 3.13 --ignore-requires-python --only-binary=:all: \
	--no-deps $$(sed -n 's/; python_version >= "3.13"//p' requirements.txt)
	PYTHONPATH=$(LICENCES)/packages $(BIN)/python -m piplicenses --with-system \
	--format markdown --no-version --output-file $(LICENCES)/table.md \
	--packages $$(sed -n 's/==.*//p' requirements.txt | sort -u)
	printf '%s\n' '# Third-party packages' '' \
	'The packages of `requirements.txt` and their licences, as each package states them; `UNKNOWN`:' \
	'see its licence file. They are no part of this repository. `make licences` writes this file.' \
	'' > $(LICENCES)/page.md
	uniq $(LICENCES)/table.md >> $(LICENCES)/page.md
	mv $(LICENCES)/page.md THIRD_PARTY.md

clean:
	rm -rf $(VENV) demo cache
