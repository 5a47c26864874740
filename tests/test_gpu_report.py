"""The report of a GPU, made without one: what it runs, what it reads of that, and what it says when something fails."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import gpu_report
import pytest
from gpu_report import Ran

Patch: TypeAlias = pytest.MonkeyPatch
Capture: TypeAlias = pytest.CaptureFixture[str]

JUNIT = """\
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="3" tests="8" time="1.5">
<testcase classname="test_gpu" name="test_a[float32]" time="0.1"/>
<testcase classname="test_gpu" name="test_a[bfloat16]" time="0.1"/>
<testcase classname="test_gpu" name="test_b" time="0.1"><failure message="short">assert 1 == 2
in a long ```text``` of test_b</failure></testcase>
<testcase classname="test_gpu" name="test_c" time="0.1"><skipped type="pytest.skip" message="needs 2 GPUs"/></testcase>
<testcase classname="test_gpu" name="test_d" time="0.1"><skipped type="pytest.skip" message="needs 2 GPUs"/></testcase>
<testcase classname="test_gpu" name="test_e" time="0.1"><skipped type="pytest.skip" message="no NCCL"/></testcase>
<testcase classname="test_gpu" name="test_f" time="0.1"><error message="at teardown">left over</error></testcase>
<testcase classname="test_gpu" name="test_g" time="0.1"/>
</testsuite></testsuites>
"""
PASSED = '<testsuites><testsuite><testcase classname="test_gpu" name="test_a"/></testsuite></testsuites>'
SKIPPED = PASSED.replace("/></testsuite>", '><skipped message="no"/></testcase></testsuite>')
FIGURES = {"machine": {}, "cases": [{"name": "gpt2", "rows": []}]}
TABLE = "| side | device, us |\n| fastlr.SGD | 1 |"
INSTALLED = {"torch": "2.13.0", "requests": "3.0", "nvidia-cuda-runtime": "12.9", "torchvision": "0.20"}
FACTS = {"torch": "2.13.0", "cuda": {"driver": 12040}, "why_no_cuda": ""}


class Machine:
    """Stands for every command that the report runs; `said` is what was run, by its kind."""

    def __init__(self, junit: str | None = PASSED, tests: int | None = 0, bench: int | None = 0) -> None:
        self.junit, self.tests, self.bench = junit, tests, bench
        self.facts: dict[str, Any] = FACTS
        self.said: list[str] = []

    def run(self, command: Sequence[str], folder: Path, limit: float = 0.0) -> Ran:
        assert not (folder / "fastlr").exists()  # Python would import it instead of what is installed
        if "pytest" in command:
            self.said.append("pytest")
            assert command[command.index("-m", 3) + 1] == "gpu"
            if self.junit is not None:
                Path(command[command.index("--junitxml") + 1]).write_text(self.junit, encoding="utf-8")
            return Ran(self.tests, "printed by pytest", 61.2)
        if "bench" in command:
            self.said.append(" ".join(command[command.index("bench") :]))
            file = Path(command[command.index("--json") + 1])
            file.write_text(json.dumps(FIGURES) if self.bench in (0, 1) else "", encoding="utf-8")
            return Ran(self.bench, f"{TABLE}\n{Path.home()}/secret", 125.0)
        if "info" in command:
            return Ran(0, f"a warning\n{json.dumps(self.facts)}", 1.0)
        return Ran(0, f"{command[0]} here", 0.1)


@pytest.fixture
def machine(monkeypatch: Patch) -> Machine:
    made = Machine()
    monkeypatch.setattr(gpu_report, "ROOT", Path("/nowhere"))
    installed = [SimpleNamespace(metadata={"Name": name}, version=version) for name, version in INSTALLED.items()]
    monkeypatch.setattr(gpu_report, "distributions", lambda: installed)
    monkeypatch.setattr(gpu_report, "why_no_gpu", lambda: "")
    monkeypatch.setattr(gpu_report, "run", lambda *arguments: made.run(*arguments))
    return made


def report(folder: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    status = gpu_report.main(["-o", str(folder / "a" / "b"), *options])
    text = (folder / "a" / "b" / "report.md").read_text(encoding="utf-8")
    return status, text, json.loads((folder / "a" / "b" / "report.json").read_text(encoding="utf-8"))


def test_all_is_well(machine: Machine, tmp_path: Path, capsys: Capture) -> None:
    status, text, record = report(tmp_path)
    assert status == 0
    assert text.startswith("# fastlr on a GPU: all is well\n")
    assert (
        "- tests: 1 passed, 0 failed, 0 errors, 0 skipped, exit status 0, 61 s\n- bench: exit status 0, 125 s" in text
    )
    assert TABLE in text
    assert "printed by pytest" not in text
    assert "````text\nnvidia-cuda-runtime 12.9\ntorch 2.13.0\n````" in text
    assert "nvidia-smi here" in text
    assert '"driver": 12040' in text
    assert "source git here" in text
    assert record["bench"]["figures"] == FIGURES
    assert record["info"] == FACTS
    assert record["tests"]["counts"] == {"passed": 1, "failed": 0, "errors": 0, "skipped": 0}
    assert [said.split(" --json")[0] for said in machine.said] == ["pytest", "bench --device cuda"]
    assert "Please send both" in capsys.readouterr().out


def test_quick_is_handed_on(machine: Machine, tmp_path: Path) -> None:
    report(tmp_path, "--quick")
    assert machine.said[1].endswith(" --quick")


def test_failures_are_told_and_the_bench_runs_nevertheless(machine: Machine, tmp_path: Path) -> None:
    machine.junit, machine.tests = JUNIT, 1
    status, text, record = report(tmp_path)
    assert status == 1
    assert text.startswith("# fastlr on a GPU: something failed\n")
    assert "- tests: 3 passed, 1 failed, 1 errors, 3 skipped, exit status 1, 61 s" in text
    assert "### test_gpu::test_b\n\n````text\nassert 1 == 2\nin a long ```text``` of test_b\n````" in text
    assert "### test_gpu::test_f\n\n````text\nleft over\n````" in text
    assert "- 2 skipped: needs 2 GPUs\n- 1 skipped: no NCCL" in text
    assert "printed by pytest" in text
    assert TABLE in text
    assert record["summary"]["well"] is False


ENDINGS = [
    (None, -11, 0, "no counts, signal 11, 61 s", "exit status 0, 125 s"),
    (None, None, 0, "no counts, did not end by itself, 61 s", "exit status 0, 125 s"),
    ("<testsuites><testsu", -6, 0, "no counts, signal 6, 61 s", "exit status 0, 125 s"),
    (SKIPPED, 0, 0, "0 passed, 0 failed, 0 errors, 1 skipped, exit status 0, 61 s", "exit status 0, 125 s"),
    ("<testsuites/>", 5, 0, "0 passed, 0 failed, 0 errors, 0 skipped, exit status 5, 61 s", "exit status 0, 125 s"),
    (PASSED, 3, 0, "1 passed, 0 failed, 0 errors, 0 skipped, exit status 3, 61 s", "exit status 0, 125 s"),
    (PASSED, 0, 1, "1 passed, 0 failed, 0 errors, 0 skipped, exit status 0, 61 s", "exit status 1, 125 s"),
    (PASSED, 0, -7, "1 passed, 0 failed, 0 errors, 0 skipped, exit status 0, 61 s", "signal 7, 125 s"),
    (PASSED, 0, None, "1 passed, 0 failed, 0 errors, 0 skipped, exit status 0, 61 s", "did not end by itself, 125 s"),
]


@pytest.mark.parametrize(("junit", "tests", "bench", "tests_line", "bench_line"), ENDINGS)
def test_every_other_ending_is_a_failure_with_a_report(
    junit: str | None,
    tests: int | None,
    bench: int | None,
    tests_line: str,
    bench_line: str,
    machine: Machine,
    tmp_path: Path,
) -> None:
    machine.junit, machine.tests, machine.bench = junit, tests, bench
    status, text, record = report(tmp_path)
    assert status == 1
    assert f"- tests: {tests_line}\n- bench: {bench_line}\n" in text
    assert ("printed by pytest" in text) == (tests != 0)
    assert (record["bench"]["figures"] is None) == (bench not in (0, 1))
    assert TABLE in text


def test_home_folders_are_not_told(machine: Machine, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/" + "home/someone"))
    _, text, record = report(tmp_path)
    assert "\n~/secret\n" in text
    assert "someone" not in text + json.dumps(record)
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert gpu_report.without_home("/a/b") == "/a/b"


@pytest.mark.parametrize("options", [[], ["--probe"]])
def test_without_a_gpu_nothing_is_written(
    options: list[str], machine: Machine, monkeypatch: Patch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setattr(gpu_report, "why_no_gpu", lambda: "the driver counts 0 devices")
    assert gpu_report.main(["-o", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err.startswith("No GPU to report on: the driver counts 0 devices. Use a machine with")
    assert not (tmp_path / "out").exists()
    assert machine.said == []


def test_probe_runs_nothing(machine: Machine, tmp_path: Path) -> None:
    assert gpu_report.main(["-o", str(tmp_path / "out"), "--probe"]) == 0
    assert machine.said == []
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_fastlr_or_torch_does_not_use_is_refused(machine: Machine, tmp_path: Path, capsys: Capture) -> None:
    machine.facts = {**FACTS, "why_no_cuda": "torch 2.13.0+cpu is built without CUDA"}
    assert gpu_report.main(["-o", str(tmp_path / "out")]) == 2
    assert "No GPU to report on: torch 2.13.0+cpu is built without CUDA. Use" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert machine.said == []


def test_an_info_that_fails_is_shown(machine: Machine, monkeypatch: Patch, tmp_path: Path, capsys: Capture) -> None:
    monkeypatch.setattr(gpu_report, "run", lambda *arguments: Ran(-11, "Fatal Python error", 1.0))
    assert gpu_report.main(["-o", str(tmp_path / "out")]) == 2
    assert "`fastlr info` ended with signal 11:\nFatal Python error" in capsys.readouterr().err


class Driver:
    """A libcuda with a number of devices, or failing."""

    def __init__(self, init: int, count_status: int, count: int) -> None:
        self.init, self.count_status, self.count = init, count_status, count

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDeviceGetCount(self, pointer: Any) -> int:
        pointer._obj.value = self.count
        return self.count_status


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver(0, 0, 1), ""),
        (Driver(0, 0, 8), ""),
        (Driver(0, 0, 0), "the driver counts 0 devices"),
        (Driver(100, 0, 0), "the driver's cuInit fails with error 100"),
        (Driver(0, 3, 1), "the driver's cuDeviceGetCount fails with error 3"),
    ],
)
def test_the_driver_is_asked_for_devices(driver: Driver, reason: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(gpu_report.ctypes, "CDLL", lambda name: driver)
    assert gpu_report.why_no_gpu() == reason


def test_a_missing_driver_is_named(monkeypatch: Patch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu_report.ctypes, "CDLL", missing)
    assert gpu_report.why_no_gpu() == "the driver's libcuda.so.1 is not there"
