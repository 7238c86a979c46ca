# `make demo` and `make test` do everything themselves, set-up included; a second run is instant.
# Needs: Python 3.11 or newer, make, and the network the first time.

SHELL := /bin/bash
PYTHON ?= $(shell for name in python3.11 python3 python3.13 python3.12; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# what the program itself uses, and what the tests start besides
APT_RUN := libportaudio2 pulseaudio-utils
APT_TEST := $(APT_RUN) pulseaudio libasound2-plugins alsa-utils dbus pipewire pipewire-pulse pipewire-bin \
	pipewire-jack wireplumber jackd2 libsndfile1 chromium strace
# PyTorch without CUDA: a tenth of the download, enough for the tests; used where pip or PyTorch's own index offers it
TORCH_CPU := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu
# the stock JavaScript client that a test connects with
NPM := npm install --silent --no-audit --no-fund --prefix $(VENV)/node
OBS_WEBSOCKET_JS := obs-websocket-js@5.0.8
BENCHES := compute latency isolation drift convert coldstart control faults kills load audit

.PHONY: demo test lint bench clean system-run system-test
.DEFAULT_GOAL := demo

demo: system-run $(VENV)/.run
	$(BIN)/rtvc demo

# two at a time, for half of the tests mostly wait for sound; those of one file stay together; each on one core
test: system-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(PIP) install --quiet --no-deps --no-build-isolation --target build/typed .
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p rtvc

bench: system-test $(VENV)/.dev
	for name in $(BENCHES); do $(BIN)/python -m bench.$$name --json out/bench/$$name.json || exit 1; done

clean:
	rm -rf $(VENV) build out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml
	$(call make_venv)
	$(PIP) install --quiet --editable .
	touch $@

$(VENV)/.dev: pyproject.toml
	$(call make_venv)
	$(PIP) install --quiet '$(TORCH_CPU)' 2>/dev/null || \
		$(PIP) install --quiet --retries 1 --extra-index-url $(TORCH_INDEX) '$(TORCH_CPU)' || true
	$(PIP) install --quiet --editable '.[dev]'
	@if command -v npm >/dev/null; then $(NPM) $(OBS_WEBSOCKET_JS) || true; \
	else echo "npm is missing: the test with obs-websocket-js will be skipped" >&2; fi
	touch $(VENV)/.run $@

system-run:
	@$(call install_packages,$(APT_RUN))

system-test:
	@$(call install_packages,$(APT_TEST))

# Install what is missing where that is allowed; otherwise say what is missing and go on.
define install_packages
[ "$$(uname)" = Linux ] || exit 0; \
missing=$$(for name in $(1); do dpkg-query -W -f '$${Status}' $$name 2>/dev/null | grep -q ' installed' || echo $$name; done); \
[ -n "$$missing" ] || exit 0; \
if [ "$$(id -u)" = 0 ]; then as_root="env"; elif sudo -n true 2>/dev/null; then as_root="sudo -n env"; else as_root=""; fi; \
if [ -n "$$as_root" ] && command -v apt-get >/dev/null; then \
	echo "installing" $$missing; \
	$$as_root apt-get update -qq && $$as_root DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing >/dev/null && exit 0; \
fi; \
echo "These system packages are missing and could not be installed here (names as on Debian):" >&2; \
printf '  %s\n' $$missing >&2; \
echo "Install them, for example: sudo apt-get install" $$missing >&2
endef

define make_venv
@[ -n "$(PYTHON)" ] || \
	{ echo "Python 3.11 or newer was not found. Install it, or: make PYTHON=/path/to/python3.11" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || ( $(call install_packages,python3-venv) )
@$(PYTHON) -m venv $(VENV)
endef
