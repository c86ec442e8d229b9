# hmr_ros. `make help` lists the targets; each installs what it needs in .venv, once.
#
# With a ROS 2 sourced (ROS_DISTRO is set) its rclpy and messages are used; otherwise the rclpy wheels from PyPI are installed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PIP := $(VENV)/bin/python -m pip install -q --disable-pip-version-check
REQUIREMENTS := setup.py requirements/constraints.txt

# Options of the demo: make demo SOURCE=my.mp4 OUT=out RATE=0.5 ARGS='--set tto.max_steps=3'
SOURCE ?=
OUT ?= demo_out
RATE ?= 1
ARGS ?=

ifdef ROS_DISTRO
# The interpreter that ROS was built for, with the packages installed for it.
CANDIDATES := /usr/bin/python3 python3
NEWEST := 3, 14
VENV_OPTIONS := --system-site-packages
RUNTIME := -e .
# The distribution's own compiled modules are built against its major version of numpy.
PINS = 'numpy<$(shell $(PYTHON) -c 'import numpy; print(int(numpy.__version__.split(".")[0]) + 1)')'
else
CANDIDATES := python3 python3.12 python3.11 python3.13 python3.10
NEWEST := 3, 13
VENV_OPTIONS :=
RUNTIME := -e .[ros]
PINS := -c requirements/constraints.txt
# The start-up hook of the ROS wheels sets these for child processes; inherited, they would point this venv at another venv's libraries.
unexport LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
endif

WORKS := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= ($(NEWEST)))
PYTHON ?= $(shell for python in $(CANDIDATES); do "$$python" -c '$(WORKS)' 2>/dev/null && echo "$$python" && break; done)

.PHONY: help setup demo test lint package clean

help:  ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/.runtime $(VENV)/.keypoints  ## install what the node needs, with its keypoint models

demo: setup  ## play a clip through the real node over real topics; SOURCE=, OUT=, RATE=, ARGS=
	@$(VENV)/bin/python -m hmr_ros.ros.demo $(if $(SOURCE),"$(SOURCE)") --out "$(OUT)" --rate $(RATE) $(ARGS)

test: $(VENV)/.test $(VENV)/.keypoints  ## run all tests (installs torch, from PyPI or from PIP_EXTRA_INDEX_URL)
	@$(VENV)/bin/python -m pytest -q tests

lint: $(VENV)/.test  ## check style, formatting and types
	@$(VENV)/bin/python -m ruff check hmr_ros training tests launch
	@$(VENV)/bin/python -m ruff format --check hmr_ros training tests launch
	@$(VENV)/bin/python -m mypy

package: $(VENV)/.created  ## build sdist and wheel, and try each in a new environment
	@$(PIP) build
	@rm -rf dist && $(VENV)/bin/python -m build --outdir dist . >/dev/null
	@for file in dist/*; do PYTHON=$(VENV)/bin/python .ci/try_package "$$file" $(if $(ROS_DISTRO),,ros); done

clean:  ## remove the environment and everything made by these targets
	rm -rf $(VENV) demo_out build install log dist *.egg-info .pytest_cache .ruff_cache

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "No Python from 3.10 to 3.13 with venv was found (tried: $(CANDIDATES))." \
	    "Install one (Debian, Ubuntu: apt install python3-venv) or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV_OPTIONS) $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.created $(REQUIREMENTS)
	@echo "Installing the runtime"
	@$(PIP) $(PINS) $(RUNTIME)
	@touch $@

# `reference` is smplx, which our body is tested against; its licence is non-commercial, and nothing but tests uses it.
$(VENV)/.test: $(VENV)/.runtime
	@echo "Installing what tests and training need"
	@$(PIP) $(PINS) -e .[training,test,lint,reference]
	@touch $@

$(VENV)/.keypoints: $(VENV)/.runtime hmr_ros/tools/fetch_keypoint_models.py
	@$(VENV)/bin/python -m hmr_ros.tools.fetch_keypoint_models
	@touch $@
