"""The report of a GPU with real commands: pytest's record, output that survives every ending, make's order."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_report
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_pytests_own_record_is_read(tmp_path: Path) -> None:
    """By the pytest that is installed, run in a folder of its own."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\njunit_family = xunit2\n")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.gpu\n"
        "@pytest.fixture\n"
        "def broken():\n    yield\n    raise RuntimeError('at teardown')\n"
        "@pytest.mark.parametrize('x', range(4))\n"
        "def test_passes(x):\n    pass\n"
        "def test_fails():\n    assert 1 == 2, 'one is not two'\n"
        "def test_skips():\n    pytest.skip('no second GPU')\n"
        "def test_breaks(broken):\n    pass\n"
        "def test_fails_twice(broken):\n    assert 0, 'first this'\n"
    )
    (tmp_path / "test_other.py").write_text("def test_is_not_for_a_gpu():\n    assert False\n")
    ran, counted = gpu_report.run_tests(tmp_path, tmp_path)
    assert ran.status == 1
    assert counted is not None
    assert counted.counts == {"passed": 4, "failed": 2, "errors": 2, "skipped": 1}
    assert counted.reasons == {"no second GPU": 1}
    texts = {name.partition("::")[2]: text for name, text in counted.problems.items()}
    assert list(texts) == ["test_fails", "test_breaks", "test_fails_twice"]
    assert "one is not two" in texts["test_fails"]
    assert "at teardown" in texts["test_breaks"]
    assert "first this" in texts["test_fails_twice"]
    assert "at teardown" in texts["test_fails_twice"]


PRINT = "import os, sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); "


@pytest.mark.parametrize(
    ("code", "limit", "status", "ending", "last"),
    [
        (PRINT, 60, 0, "exit status 0", "err"),
        (PRINT + "sys.exit(3)", 60, 3, "exit status 3", "err"),
        (PRINT + "os.abort()", 60, -6, "signal 6", None),
        (PRINT + "import time; time.sleep(60)", 2, None, "did not end by itself", "stopped after 2 s"),
    ],
)
def test_what_a_command_printed_is_kept_however_it_ends(
    code: str, limit: float, status: int | None, ending: str, last: str | None, tmp_path: Path
) -> None:
    ran = gpu_report.run([sys.executable, "-c", code], tmp_path, limit)
    assert (ran.status, ran.ending()) == (status, ending)
    lines = ran.output.splitlines()
    assert lines[:2] == ["out", "err"]
    assert last in (None, lines[-1])


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    ran = gpu_report.run(["no-such-command-at-all"], tmp_path)
    assert ran.status is None
    assert "no-such-command-at-all" in ran.output


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_looks_for_a_gpu_before_it_installs_anything_large(tmp_path: Path) -> None:
    command = ["make", "--dry-run", "gpu-report", "TORCH=torch==9.9 --index-url URL", f"VENV={tmp_path / 'venv'}"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=plain)
    lines = ran.stdout.splitlines()
    (probe,) = [index for index, line in enumerate(lines) if "--probe" in line]
    (torch,) = [index for index, line in enumerate(lines) if line.endswith("install -qq torch==9.9 --index-url URL")]
    (package,) = [index for index, line in enumerate(lines) if "cmake.define.FASTLR_CUDA=ON" in line]
    assert probe < torch < package < len(lines) - 1
    assert lines[-1].endswith("tools/gpu_report.py --output build/gpu-report")


def test_the_first_look_needs_no_package(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-I", str(ROOT / "tools" / "gpu_report.py"), "--probe"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 2)
    assert ("No GPU to report on" in ran.stderr) == (ran.returncode == 2)
