# Two commands matter: `make study` and `make test`. They need python3 and make; everything else goes into .venv.
#   PYTHON=python3.12 make install    another interpreter (3.11 or newer) for a new .venv
#   TORCH_INDEX=URL make install      where torch comes from, e.g. https://download.pytorch.org/whl/cu126
#   make test ARGS="-k dpo"           arguments for pytest
#   make bench ROW="dpo ppo"          rows of benchmarks/rows.py
BIN := .venv/bin
PYTHON ?= python3
STUDY ?= quickstart
WORKERS ?= 2
export PYTHON
# One thread a process: two workers of one thread are faster than one of two, and results do not depend on the machine.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help install study test parity vllm bench check docs dist check-dist walk names clean

help:
	@echo "make install   create .venv with everything (again: does nothing)"
	@echo "make study     install, then run the study '$(STUDY)' and say where its report lies"
	@echo "make test      install, then run the default test suite"
	@echo "make parity    compare with TRL, in environments of its own under .parity/"
	@echo "make vllm      test the sampler vllm with vLLM for the CPU, in an environment of its own under .vllm/"
	@echo "make bench     measure the speed beside TRL and transformers (ROW=dpo: one row), and write docs/performance.md"
	@echo "make check     lint, format, types, import layers, walks, names"
	@echo "make docs      build the documentation into site/, warnings are errors"
	@echo "make dist      build wheel and sdist into dist/; make check-dist says whether they are whole"
	@echo "make walk      print the five walks that a reader follows"
	@echo "make names     print names defined twice, similar records, guesses about protocols, circles of packages"

install:
	@sh scripts/install.sh

study: install
	@$(BIN)/preflab study $(STUDY) --output runs/$(STUDY)
	@echo "The report: $(CURDIR)/runs/$(STUDY)/report.html"

test: install
	@$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

parity: install .parity/trl-1.16.0/ready .parity/trl-1.12.0/ready
	@$(THREADS) $(BIN)/python -m pytest tests/parity -m parity $(ARGS)

.parity/%/ready: tests/parity/requirements-%.txt tests/parity/requirements-shared.txt
	@echo "Creating .parity/$* from $<."
	@$(PYTHON) -m venv --clear .parity/$*
	@echo '*' > .parity/.gitignore
	@.parity/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

vllm: install .vllm/ready
	@$(THREADS) VLLM_CPU_OMP_THREADS_BIND=nobind $(BIN)/python -m pytest tests/sampling/vllm -m "vllm or not vllm" $(ARGS)

# torchvision, torchaudio and torchcodec are not needed, and do not load beside a build of torch for the CPU.
.vllm/ready: tests/sampling/vllm/requirements.txt
	@echo "Creating .vllm from $<."
	@$(PYTHON) -m venv --clear .vllm
	@echo '*' > .vllm/.gitignore
	@.vllm/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@.vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

bench: install
	@$(BIN)/python -m benchmarks $(ROW) $(ARGS)
	@$(BIN)/python -m benchmarks.page

check: install
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright --project pyproject.toml
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/walk.py
	@$(BIN)/python scripts/names.py

docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

dist: install
	@rm -rf dist
	@$(BIN)/python -m build

check-dist: install
	@$(BIN)/python scripts/check_dist.py dist

walk: install
	@$(BIN)/python scripts/walk.py

names: install
	@$(BIN)/python scripts/names.py

clean:
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
