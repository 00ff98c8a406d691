# Every target sets up what it needs first; `make` alone lists them.
# POSIX sh and GNU make 3.81 (macOS) are enough.

VENV = .venv
PY = $(VENV)/bin/python
CONSTRAINTS = constraints.txt
PIP_ARGS =
PYTEST_ARGS = -n 2
FRESH =
CHECK = tools/setup_check.py
SUITABLE = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	if $$p -c '$(SUITABLE)' >/dev/null 2>&1; then echo $$p; exit; fi; done; echo python3)

.PHONY: help setup setup-dev demo test test-slow check fix bench bench-soak bench-soak-serve bench-serve bench-engine bench-gpu bench-frontend bench-programs bench-programs-gpu bench-regret bench-optimizers golden size clean
.DEFAULT_GOAL = help
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20
	@echo
	@echo "  variables: PYTHON=python3.12  PIP_ARGS='--index-url URL'  PYTEST_ARGS='-k name'  FRESH=1 (demo)"

setup: $(VENV)/.kernels ## make .venv with what running programs needs (quick if done)

setup-dev: $(VENV)/.ready-dev $(VENV)/.kernels ## the same with what tests and checks need

$(PY):
	@$(PYTHON) -c pass 2>/dev/null || { echo "setup: no Python found. Fix: install Python 3.11, 3.12 or 3.13, or name one: make setup PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) $(CHECK)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(PY) pyproject.toml $(CONSTRAINTS)
	@$(PY) $(CHECK) --fetch run --constraints $(CONSTRAINTS) --pip-args "$(PIP_ARGS)"
	$(PY) -m pip install $(PIP_ARGS) -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.ready-dev: $(PY) pyproject.toml $(CONSTRAINTS)
	@$(PY) $(CHECK) --fetch dev --constraints $(CONSTRAINTS) --pip-args "$(PIP_ARGS)"
	$(PY) -m pip install $(PIP_ARGS) -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@ $(VENV)/.ready

# The engine is faster with them, and runs without: a machine that cannot build them is told why, and goes on; the next `make` tries again.
$(VENV)/.kernels: $(VENV)/.ready $(wildcard backend/native/*.cpp backend/native/*.h)
	@$(PY) -m lampc.backend.native && touch $@ || true

demo: $(VENV)/.kernels ## optimise an example program on the bundled model and show what it gains (FRESH=1: start over)
	@FRESH="$(FRESH)" $(PY) -m lampc demo

test: $(VENV)/.ready-dev $(VENV)/.kernels ## run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)

test-slow: $(VENV)/.ready-dev $(VENV)/.kernels ## run the long proofs
	OMP_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS) -m slow

check: $(VENV)/.ready-dev $(VENV)/.kernels ## lint, format, types, layers, tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	OMP_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)

fix: $(VENV)/.ready-dev ## let ruff mend what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(VENV)/.ready-dev $(VENV)/.kernels ## run the benchmarks; a line each is appended to benchmarks/results/
	@failed=; for f in $(filter-out benchmarks/soak.py benchmarks/soak_serve.py benchmarks/gpu.py benchmarks/workloads.py benchmarks/programs.py benchmarks/planning.py benchmarks/optimizers.py benchmarks/regret.py,$(wildcard benchmarks/[!_]*.py)); do \
		echo "== $$f"; $(PY) $$f || failed="$$failed $$f"; done; \
	if [ -n "$$failed" ]; then echo "failed, or a goal missed:$$failed"; exit 1; fi

bench-soak: $(VENV)/.ready-dev $(VENV)/.kernels ## the engine under twice its capacity (ARGS="--minutes 1")
	$(PY) benchmarks/soak.py $(ARGS)

bench-soak-serve: $(VENV)/.ready-dev $(VENV)/.kernels ## the server at twice its capacity (ARGS="--minutes 1")
	PYTHONPATH=src:benchmarks $(PY) benchmarks/soak_serve.py $(ARGS)

bench-serve: $(VENV)/.ready-dev $(VENV)/.kernels ## our server beside vLLM's on this machine; a stopped run goes on (ARGS="--help")
	PYTHONPATH=src:benchmarks $(PY) -m serve_bench --pip-args="$(PIP_ARGS)" $(ARGS)

bench-engine: $(VENV)/.ready-dev ## our engine against others on this machine; a stopped run goes on (ARGS="--help")
	PYTHONPATH=src:benchmarks $(PY) -m engine_bench --pip-args="$(PIP_ARGS)" $(ARGS)

bench-gpu: $(VENV)/.ready-dev ## kernels and engine on a GPU, checked and timed; docs/performance.md
	$(PY) benchmarks/gpu.py $(ARGS)

bench-frontend: $(VENV)/.ready-dev ## what the framework costs beside DSPy; writes benchmarks/results/frontend.json
	$(PY) benchmarks/frontend.py

bench-programs: $(VENV)/.ready-dev $(VENV)/.kernels ## whole programs: ours against today's ways to run them; docs/workloads.md (ARGS="--tokens")
	$(PY) benchmarks/programs.py $(ARGS)

bench-programs-gpu: ## the same on a GPU, at a shape of 8 B parameters, four times the rows; eight minutes
	$(PY) benchmarks/programs_gpu.py $(ARGS)

bench-regret: $(VENV)/.ready-dev ## how near optimizers come to a planted optimum, over budget; benchmarks/results/regret.svg
	$(PY) benchmarks/regret.py $(ARGS)

bench-optimizers: $(VENV)/.ready-dev $(VENV)/.kernels ## optimizers beside DSPy's own, on the same engine; a stopped run goes on (ARGS="--small")
	OMP_NUM_THREADS=1 $(PY) benchmarks/optimizers.py $(ARGS)

golden: $(VENV)/.ready-dev $(VENV)/.kernels ## rewrite golden fixtures and generated documents; read the diff
	OMP_NUM_THREADS=1 $(PY) -m pytest -q --update
	$(PY) tools/listing.py

size: ## lines per file, those over budget marked
	@$(PYTHON) tools/size.py

clean: ## remove .venv, out/ and every cache
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
