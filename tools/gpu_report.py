"""Run the GPU tests and `fastlr bench --device cuda`, and write what they found to report.md and report.json.

Exit status: 0 all is well, 1 something failed (the report says what), 2 there is no GPU to report on.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 3600  # seconds for the tests, and as many for the bench
SMI_FIELDS = (
    "name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit"
)
FENCE = "````"


@dataclass(frozen=True)
class Ran:
    """A command that has ended; ``status`` is None where it was stopped or is not there, negative for a signal."""

    status: int | None
    output: str
    seconds: float

    def ending(self) -> str:
        if self.status is None:
            return "did not end by itself"
        return f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


@dataclass(frozen=True)
class Counted:
    """What pytest counted; ``problems`` holds name and text of each failure and error, ``reasons`` those of skips."""

    counts: dict[str, int]
    problems: dict[str, str]
    reasons: dict[str, int]

    def line(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.counts.items())


def run(command: Sequence[str], folder: Path, limit: float = LIMIT) -> Ran:
    """Run to the end, or for ``limit`` seconds; what it printed is kept in any case."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        status: int | None = None
        try:
            status = subprocess.run(
                command, cwd=folder, stdout=printed, stderr=subprocess.STDOUT, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            printed.write(f"\nstopped after {limit:g} s\n")
        except OSError as error:
            printed.write(f"{error}\n")
        printed.seek(0)
        return Ran(status, printed.read(), time.monotonic() - began)


def why_no_gpu() -> str:
    """Why the driver has no GPU; empty where it has. Needs the standard library only."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "the driver's libcuda.so.1 is not there"
    count = ctypes.c_int()
    for entry, arguments in (("cuInit", (0,)), ("cuDeviceGetCount", (ctypes.byref(count),))):
        status = getattr(driver, entry)(*arguments)
        if status:
            return f"the driver's {entry} fails with error {status}"
    return "" if count.value else "the driver counts 0 devices"


def read_tests(junit: Path) -> Counted:
    """pytest's own record."""
    counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
    problems: dict[str, str] = {}
    reasons: dict[str, int] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes = {child.tag: child for child in case if child.tag in ("failure", "error", "skipped")}
        for tag, key in (("failure", "failed"), ("error", "errors")):
            if tag in outcomes:
                counts[key] += 1
                problems[name] = (problems.get(name, "") + "\n" + (outcomes[tag].text or "")).strip()
        if "skipped" in outcomes:
            counts["skipped"] += 1
            reason = outcomes["skipped"].get("message", "")
            reasons[reason] = reasons.get(reason, 0) + 1
        counts["passed"] += not outcomes
    return Counted(counts, problems, reasons)


def run_tests(folder: Path, scratch: Path) -> tuple[Ran, Counted | None]:
    """`pytest -m gpu` in the folder; None for the counts where pytest left none."""
    junit = scratch / "junit.xml"
    ran = run([sys.executable, "-m", "pytest", ".", "-m", "gpu", "-q", "--junitxml", str(junit)], folder)
    try:
        return ran, read_tests(junit)
    except (OSError, ElementTree.ParseError):
        return ran, None


def run_bench(scratch: Path, options: Sequence[str]) -> tuple[Ran, Any]:
    """The bench, and the figures that it left, if any."""
    figures = scratch / "figures.json"
    command = [sys.executable, "-m", "fastlr", "bench", "--device", "cuda", "--json", str(figures), *options]
    ran = run(command, scratch)
    try:
        return ran, json.loads(figures.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ran, None


def read_info(scratch: Path) -> tuple[Any, str]:
    """The facts of `fastlr info`, and why they allow no report."""
    ran = run([sys.executable, "-m", "fastlr", "info", "--json"], scratch)
    if ran.status != 0:
        return None, f"`fastlr info` ended with {ran.ending()}:\n{ran.output}"
    facts = json.loads(ran.output[ran.output.index("{") :])
    return facts, facts["why_no_cuda"]


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    names = {dist.metadata["Name"]: dist.version for dist in distributions()}
    taking_part = ("torch", "torch-fastlr", "triton", "numpy", "pytest")
    return {name: names[name] for name in sorted(names) if name in taking_part or name.startswith("nvidia-")}


def nvidia_smi() -> str:
    """The state of the GPUs, without serial numbers; what is wrong where that is not to be had."""
    return run(["nvidia-smi", f"--query-gpu={SMI_FIELDS}", "--format=csv"], ROOT, 60).output.strip()


def gather(options: Sequence[str], facts: Any, scratch: Path) -> dict[str, Any]:
    """Everything that the report holds."""
    report: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "source": run(["git", "describe", "--always", "--dirty"], ROOT, 60).output.strip(),
        "versions": versions(),
        "info": facts,
        "nvidia_smi_before": nvidia_smi(),
    }
    print("Running the GPU tests.", flush=True)
    ran, tests = run_tests(ROOT / "tests", scratch)
    report["tests"] = {"run": asdict(ran), "ending": ran.ending(), **(asdict(tests) if tests else {})}
    tests_well = ran.status == 0 and tests is not None and tests.counts["passed"] > 0
    tests_line = f"{tests.line() if tests else 'no counts'}, {ran.ending()}, {ran.seconds:.0f} s"
    print(f"{tests_line}\nRunning the bench, for some minutes.", flush=True)
    ran, figures = run_bench(scratch, options)
    report["bench"] = {"run": asdict(ran), "ending": ran.ending(), "figures": figures}
    bench_line = f"{ran.ending()}, {ran.seconds:.0f} s"
    print(bench_line, flush=True)
    report["nvidia_smi_after"] = nvidia_smi()
    report["summary"] = {"tests": tests_line, "bench": bench_line, "well": tests_well and ran.status == 0}
    return report


def fenced(text: str) -> str:
    return f"{FENCE}text\n{text.strip()}\n{FENCE}"


def markdown(report: dict[str, Any]) -> str:
    """The report to read."""
    summary, tests, bench = report["summary"], report["tests"], report["bench"]
    skipped = [f"- {count} skipped: {reason}" for reason, count in tests.get("reasons", {}).items()]
    parts = [
        f"# fastlr on a GPU: {'all is well' if summary['well'] else 'something failed'}",
        f"{report['time']}, source {report['source']}\n\n- tests: {summary['tests']}\n- bench: {summary['bench']}",
        "## Versions and devices",
        fenced("\n".join(f"{name} {version}" for name, version in report["versions"].items())),
        fenced(json.dumps(report["info"], indent=1)),
        f"Before and after:\n\n{fenced(report['nvidia_smi_before'])}\n\n{fenced(report['nvidia_smi_after'])}",
        f"## Tests\n\n{summary['tests']}",
        *(["\n".join(skipped)] if skipped else []),
        *(f"### {name}\n\n{fenced(text)}" for name, text in tests.get("problems", {}).items()),
        *([] if tests["ending"] == "exit status 0" else [f"### Output\n\n{fenced(tests['run']['output'])}"]),
        f"## Bench\n\n{summary['bench']}",
        fenced(bench["run"]["output"]),
    ]
    return "\n\n".join(parts) + "\n"


def without_home(text: str) -> str:
    """Not everybody wants to send the name of a home folder."""
    home = Path.home()
    return text.replace(str(home), "~") if len(home.parts) > 1 else text


def write(report: dict[str, Any], folder: Path) -> None:
    for name, text in (("report.md", markdown(report)), ("report.json", json.dumps(report, indent=1) + "\n")):
        (folder / name).write_text(without_home(text), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-report"), help="a folder (%(default)s)")
    parser.add_argument("--probe", action="store_true", help="only say whether there is a GPU")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of the bench")
    arguments = parser.parse_args(argv)
    reason = why_no_gpu()
    if reason or arguments.probe:
        return refuse(reason) if reason else 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        facts, reason = read_info(scratch)
        if reason:
            return refuse(reason)
        arguments.output.mkdir(parents=True, exist_ok=True)
        report = gather(["--quick"] if arguments.quick else [], facts, scratch)
    write(report, arguments.output)
    print(f"Written: {arguments.output / 'report.md'} and report.json. Please send both.")
    return 0 if report["summary"]["well"] else 1


def refuse(reason: str) -> int:
    print(
        f"No GPU to report on: {reason}. Use a machine with an NVIDIA GPU and a CUDA build of torch.", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
