# Two commands for a fresh machine with Python >= 3.10, a C++17 compiler (GCC >= 11 or Clang >= 12) and make:
#   make demo    find a rate, train a small model with it and leave the results in fastlr-demo/
#   make test    every check that CI runs
# Each makes the virtual environment that it needs in .venv. JOBS: how many processes run tests and compilers.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= demo,study,test
REQUIRE_NVCC ?= 0
JOBS ?= 2
export REQUIRE_NVCC

BIN := $(abspath $(VENV))/bin
PINS := $(CURDIR)/.ci/constraints.txt
IMAGES := $(CURDIR)/build/device
INSTALL := $(BIN)/python -m pip install -qq --constraint $(PINS)

.PHONY: demo test lint device native dist wheel installed gpu-report clean
.NOTPARALLEL:

# It trains on the CPU, so the machine code for GPUs, which takes minutes, is left out.
demo: $(BIN)/pip
	$(INSTALL) --config-settings cmake.define.FASTLR_CUDA=OFF ".[demo]"
	$(BIN)/fastlr demo

# pytest comes last, so that its summary is the last thing printed.
test: lint device native dist wheel installed

$(BIN)/pip:
	$(PYTHON) -c "import sys; sys.version_info >= (3, 10) or sys.exit('Python >= 3.10 is needed: ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) pip

$(VENV)/tools-installed: $(PINS) pyproject.toml | $(BIN)/pip
	$(INSTALL) --group dev matplotlib numpy optuna torch
	touch $@

lint: $(VENV)/tools-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run -Werror $$(find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu')
	$(BIN)/python tools/check_invariants.py
	$(BIN)/mypy

# The machine code for GPUs, compiled and inspected; no GPU is needed.
device: $(VENV)/tools-installed
	$(BIN)/python csrc/cuda/compile_images.py embed $(IMAGES)/images.cpp default
	$(BIN)/python tools/check_device.py $(IMAGES)
	$(BIN)/python tools/occupancy.py $(IMAGES) > $(IMAGES)/occupancy.md

# The kernels of the CPU and of CUDA, the thread pool and the schedules without Python: under AddressSanitizer and
# UndefinedBehaviorSanitizer, then under ThreadSanitizer. Lightly optimised, since the compiler takes most of the time.
native: native-address native-thread

native-%: $(VENV)/tools-installed
	PATH=$(BIN):$$PATH cmake -S . -B build/native-$* -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1 -g1" \
	  -DFASTLR_SANITIZE=$* -DFASTLR_WERROR=ON -DFASTLR_CUDA=OFF
	$(BIN)/cmake --build build/native-$* --parallel $(JOBS)
	$(BIN)/ctest --test-dir build/native-$* --parallel $(JOBS) --output-on-failure --no-tests=error

# The sdist, and a wheel made from it by this machine's compiler, both in environments without torch. The machine code
# that was inspected is not compiled again, here and for the other wheel.
dist: $(VENV)/tools-installed
	rm -rf dist
	PIP_CONSTRAINT=$(PINS) $(BIN)/python -m build --config-setting cmake.define.FASTLR_WERROR=ON \
	  --config-setting cmake.define.FASTLR_CUDA=ON --config-setting cmake.define.FASTLR_CUDA_IMAGES=$(IMAGES)

# A manylinux wheel from the sdist.
wheel: $(VENV)/tools-installed
	tools/build_wheel.sh $(BIN)/python dist/*.tar.gz wheelhouse $(IMAGES)
	$(BIN)/python tools/check_wheel.py wheelhouse/*.whl

# The tests see an installed wheel, never this folder's fastlr/. Both wheels are tested: the system compiler's shares
# torch's C++ library and reads tensors through it, the manylinux one brings its own.
installed: $(VENV)/tools-installed
	$(call test_wheel,dist/*.whl,)
	$(call test_wheel,wheelhouse/*.whl,-m "not once")

define test_wheel
	$(INSTALL) --force-reinstall --no-deps $(1)
	$(INSTALL) "torch-fastlr[$(EXTRAS)]"
	cd tests && $(BIN)/python -m mypy.stubtest --allowlist ../tools/stubtest_allow.txt fastlr._core
	cd tests && $(BIN)/pytest . --pyargs fastlr --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(2)
endef

# On a machine with an NVIDIA GPU: its tests and bench, in build/gpu-report/report.md and report.json, to send back.
# TORCH is what pip installs as torch, options included: TORCH="torch==2.9.1 --index-url URL" VENV=.venv-2.9
TORCH ?= $(shell grep '^torch==' $(PINS))

gpu-report: $(BIN)/pip
	$(BIN)/python tools/gpu_report.py --probe
	$(BIN)/python -m pip install -qq $(TORCH)
	grep -v '^torch==' $(PINS) > $(VENV)/pins-but-torch.txt
	$(BIN)/python -m pip install -qq --constraint $(VENV)/pins-but-torch.txt \
	  --config-settings cmake.define.FASTLR_CUDA=ON ".[test]"
	$(BIN)/python tools/gpu_report.py --output build/gpu-report

clean:
	rm -rf build dist wheelhouse fastlr-demo $(VENV)
