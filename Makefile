# One virtual environment in .venv, from pinned and hashed requirements. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-long test-systemd lint run bench bench-smoke soak deb man fmt schema lock clean venv

demo: $(STAMP)
	$(BIN)/python -m tests.flows.demo

test: $(STAMP) lint
	$(BIN)/python -m pytest -m "not long"

# Hours of proof: a thousand kills, ten million frames, long days. Not part of `make test`.
test-long: $(STAMP)
	$(BIN)/python -m pytest -m long -o faulthandler_timeout=3600

# In booted systems, as root; the first run fetches a root file system for each suite.
test-systemd: $(STAMP)
	PYTHON=$(BIN)/python tests/systemd/run

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	grep -rlZ --include='*.py' -e 'async ' -e trio spiderwebd tests | xargs -0 -P 2 -n 16 \
	  $(BIN)/flake8-async --enable=ASYNC1,ASYNC2,ASYNC900,ASYNC913 --disable=ASYNC109,ASYNC114,ASYNC119
	$(BIN)/mypy
	$(BIN)/lint-imports

run: $(STAMP)
	$(BIN)/spiderwebd run --state-dir .spiderwebd

bench: $(STAMP)
	$(BIN)/python -m tests.bench.run

bench-smoke: $(STAMP)
	$(BIN)/python -m tests.bench.run --smoke

deb: $(STAMP)
	PYTHON=$(BIN)/python packaging/build-deb

man: $(STAMP)
	$(BIN)/python packaging/man/configuration_page.py > packaging/man/spiderwebd.toml.5

soak: $(STAMP)
	$(BIN)/python -m tests.bench.saturation

fmt: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(STAMP)
	$(BIN)/spiderwebd schema > spiderwebd/core/protocol.schema.json

# Needs uv. Universal: one file with the hashes of every platform and Python, and no addresses.
lock:
	for f in run dev; do uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header requirements/$$f.in -o requirements/$$f.txt; done

venv: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: apt install python3 (Debian 12 or later)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "the venv module is missing: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

clean:
	rm -rf $(VENV) .spiderwebd build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
