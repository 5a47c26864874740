"""The command line: ``fastlr demo`` and ``fastlr bench``.

Exit status: 0 done, 1 failed (the reason is on stderr), 2 wrong usage, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fastlr._command import CommandError
from fastlr.benchmarks import CASES, FULL, PEERS, QUICK, bench
from fastlr.demo import demo


def whole(text: str) -> int:
    """A whole number of at least 1, as an argparse type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a positive whole number: {text!r}. Give 1 or more")
    return int(text)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="fastlr", description="Learning-rate schedules evaluated inside the optimizer.")
    top.add_argument("--version", action="version", version=f"fastlr {version('torch-fastlr')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo_parser = commands.add_parser(
        "demo",
        help="train a small network with fastlr.SGD beside torch.optim.SGD",
        description="Train a small network on scikit-learn's digits with fastlr.SGD and with torch.optim.SGD and "
        "torch's schedulers, from the same start on the same batches. Writes demo.png and demo.json.",
    )
    add = demo_parser.add_argument
    add("-o", "--output", type=Path, default=Path("fastlr-demo"), metavar="DIR", help="default: %(default)s")
    add("--epochs", type=whole, default=30, metavar="N", help="passes over the data (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and batches (%(default)s)")
    demo_parser.set_defaults(run=run_demo)

    bench_parser = commands.add_parser(
        "bench",
        help="time fastlr.SGD against torch's loop, foreach, fused and compiled SGD",
        description="Check that all sides compute the same, then time one step of each in turn. Each torch step "
        "includes CosineAnnealingLR.step(); fastlr's schedule is part of its step. Takes some 6 minutes, most of "
        "them in torch.compile; --quick less than one.",
    )
    add = bench_parser.add_argument
    add("--quick", action="store_true", help="fewer rounds, and compiled only where --peers names it")
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", help=f"only these of torch's: {', '.join(PEERS)}")
    add("--cases", nargs="+", choices=CASES, metavar="CASE", help=f"only these of: {', '.join(CASES)}")
    add("--threads", type=whole, metavar="N", help="threads of torch and fastlr")
    add("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    bench_parser.set_defaults(run=run_bench)
    return top


def run_demo(arguments: argparse.Namespace) -> int:
    demo(arguments.output, epochs=arguments.epochs, seed=arguments.seed)
    return 0


def run_bench(arguments: argparse.Namespace) -> int:
    peers = arguments.peers or [peer for peer in PEERS if not (arguments.quick and peer == "compiled")]
    correct = bench(
        arguments.cases or CASES,
        peers,
        effort=QUICK if arguments.quick else FULL,
        threads=arguments.threads,
        json_file=arguments.json,
    )
    return 0 if correct else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except CommandError as error:
        print(f"fastlr {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastlr {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return status
