# `make repro` and `make test` are all that a fresh machine needs; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PRESET ?=
export PATH := $(abspath $(BIN)):$(PATH)
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help setup git repro test test-fast lint format bench compare play browser clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.product  ## make .venv and install requirements.txt

# The stamps are written last, so a half-finished .venv is finished by the next call, or begun anew where it is broken.
$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; 3.11 or newer is needed (set PYTHON=)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.product: requirements.txt | $(VENV)/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt requirements-export.txt requirements-play.txt | $(VENV)/.product
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps video-diffusion-pytorch==0.7.0 einops-exts==0.0.4
	@touch $@

$(VENV)/.play: requirements.txt requirements-play.txt | $(VENV)/.product
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-play.txt
	@touch $@

git:
	@git rev-parse --git-dir >/dev/null || { echo "error: no Git repository here; DVC needs one: git init && git add -A && git commit -m start" >&2; exit 1; }

repro: git $(VENV)/.product  ## run the whole graph on params.yaml; PRESET=gpu applies presets/gpu.yaml first
	@python -c 'from pipeline.config.params import load_params; from pipeline.runtime.stage import run_stage; run_stage(load_params)'
	$(if $(PRESET),@python -m pipeline.preset apply $(PRESET))
	dvc repro
	@python -m pipeline.summary

test: $(VENV)/.dev  ## all tests
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.dev  ## the tests that take under two seconds each
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(VENV)/.dev  ## ruff (format and lint) and mypy
	ruff format --check .
	ruff check .
	mypy

format: $(VENV)/.dev  ## let ruff format and fix
	ruff format .
	ruff check --fix .

bench: $(VENV)/.dev  ## every measurement, side by side with its peer
	python -m bench.transcode
	python -m bench.loader
	python -m bench.embed
	python -m bench.synthetic
	python -m bench.unet --peer
	python -m bench.nothing
	python -m bench.scale
	python -m bench.msrvtt

play: $(VENV)/.play  ## a page on this machine to type prompts into; MODEL=<folder or name> (default: all here)
	python -m pipeline.play $(MODEL)

compare: $(VENV)/.product  ## one report with two revisions side by side: make compare A=main B=exp-name
	@test -n "$(A)" && test -n "$(B)" || { echo "error: make compare A=<revision> B=<revision>" >&2; exit 1; }
	python -m pipeline.compare $(A) $(B)

browser:  ## Debian's Chromium, for the report's browser test
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

clean:  ## remove caches, scratch and .venv; data, models and the DVC cache stay
	rm -rf $(VENV) .scratch .pytest_cache .ruff_cache .mypy_cache
