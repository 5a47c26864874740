#!/usr/bin/env bash
# A manylinux wheel without a container: the sdist built by zig's clang against an old glibc, then repaired.
# usage: build_wheel.sh PYTHON SDIST OUTPUT_FOLDER [FOLDER]    with images that compile_images.py left in FOLDER
set -euo pipefail
python=$1 sdist=$2 output=$3 images=${4-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# By its path, since an isolated build cannot import ziglang. glibc 2.28 is what torch's own wheels ask for.
zig=$("$python" -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name("zig"))')
cat >"$scratch/c++" <<END
#!/bin/sh
# zig writes the names of x86 levels with underscores.
for argument do
  shift
  case \$argument in -march=x86-64-v*) argument=-march=x86_64_v\${argument##*-v} ;; esac
  set -- "\$@" "\$argument"
done
# zig compiles its C++ library anew for each kind of options. So there is one: a level where CMake tries the compiler
# without, and below no optimisation by the linker.
exec "$zig" c++ -target $(uname -m)-linux-gnu.2.28 -O2 "\$@"
END
chmod +x "$scratch/c++"

CXX="$scratch/c++" "$python" -m pip wheel --quiet --no-deps --build-constraint .ci/constraints.txt \
  --config-settings cmake.define.FASTLR_WERROR=ON --config-settings cmake.define.FASTLR_CUDA=ON \
  --config-settings cmake.define.FASTLR_CUDA_IMAGES="$images" \
  --config-settings cmake.define.CMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF \
  --wheel-dir "$scratch/built" "$sdist"
rm -rf "$output"
PATH="$(dirname "$python"):$PATH" "$python" -m auditwheel repair -z 9 --wheel-dir "$output" "$scratch"/built/*.whl
