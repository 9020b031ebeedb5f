# Each target makes the environment that it needs in .venv; only Python, pip and make must be there.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

AXE := 4.14.1

.PHONY: demo test test-programs test-full check format docs notebooks browser bench bench-quick bench-gpu soak clean

demo: .venv/demo.stamp  ## a whole study on bundled data; ends with the page's path
	$(BIN)/lookaway demo --out $(OUT)

# Several processes of one thread each: two processes of several threads would wait for each other.
# tests/conftest.py says how many, and puts the longest files first. Compiled tests are kept.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/python -m pytest
PYTEST += --numprocesses auto --dist loadfile --no-loadscope-reorder

test: .venv/dev.stamp  ## the fast tests
	$(PYTEST) -m "not slow and not program"

test-programs: .venv/dev.stamp  ## the wheel without the repository, runs that are killed, Ray
	$(PYTEST) -m "program and not slow"

test-full: .venv/dev.stamp  ## all of them, the slow ones too
	$(PYTEST)

check: .venv/dev.stamp  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/docs.stamp  ## the documentation, build/docs/index.html; runs its short notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebooks: .venv/docs.stamp  ## run the notebooks and store what they show
	$(BIN)/jupyter nbconvert --to notebook --execute --ExecutePreprocessor.record_timing=False \
		--inplace docs/notebooks/*.ipynb

browser: .venv/bin/python  ## Debian's Chromium and axe-core, for the tests of the page; needs root and npm
	command -v chromium || (apt-get update && apt-get install --yes --no-install-recommends chromium)
	npm install --silent --no-save --prefix .venv axe-core@$(AXE)

bench: .venv-bench/stamp  ## lookaway beside its peers, most of an hour; writes benchmarks/results.json
	.venv-bench/bin/python benchmarks/bench.py

bench-quick: .venv-bench/stamp  ## ResNet50 and SSIM, under three minutes
	.venv-bench/bin/python benchmarks/bench.py --quick --out /dev/null

bench-gpu: .venv-bench/stamp  ## on one CUDA card beside the limit of its passes, some minutes
	.venv-bench/bin/python benchmarks/gpu.py

soak: .venv/dev.stamp  ## 100,000 images beside 10,000: memory, time and page; on Linux
	$(BIN)/python benchmarks/soak.py

format: .venv/dev.stamp  ## put formatting and imports right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/python
	if test -e .venv/dev.stamp; then $(MAKE) .venv/dev.stamp; else \
		$(BIN)/python -m pip install --quiet --editable '.[demo]'; fi
	touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/demo.stamp

.venv/docs.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.venv-bench/stamp: benchmarks/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt --editable .
	touch $@
