#!/usr/bin/env bash
# Compile the shared arithmetic for GPUs with nvcc. Warnings, spills, and a stack in a rule's kernel are errors.
# usage: check_device.sh   (REQUIRE_NVCC=1: fail where nvcc is absent)
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v nvcc >/dev/null; then
  echo "device compile check skipped: nvcc is not on PATH"
  exit "${REQUIRE_NVCC:-0}"
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for arch in 75 80 90 120; do
  nvcc -std=c++17 -arch="sm_$arch" -fmad=false -Icsrc -Werror all-warnings \
    -Xptxas -v,--warn-on-spills --cubin -o /dev/null tests/native/device_check.cu >"$log" 2>&1 || { cat "$log"; exit 1; }
  frames=$(grep -A1 'Function properties for .*sgd_kernel' "$log" | grep 'stack frame')
  if grep -vx ' *0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads' <<<"$frames"; then
    echo "error: a rule's kernel uses a stack on sm_$arch"
    exit 1
  fi
  echo "sm_$arch: $(wc -l <<<"$frames") kernels of rules, none with a stack or spills"
done
