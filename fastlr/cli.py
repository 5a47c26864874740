"""The command line: ``fastlr plot``, ``eval``, ``find``, ``sweep``, ``runs``, ``info``, ``demo`` and ``bench``.

Exit status: 0 done, 1 failed (the reason is on stderr), 2 wrong usage, 3 a search found no rate, 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from fastlr._command import CommandError, whole
from fastlr._info import info, info_text
from fastlr._runs_commands import add_runs_command
from fastlr._schedule_commands import close_quietly, picture_file, run_eval, run_plot, steps_range
from fastlr._search_commands import NONE_FOUND, add_search_commands
from fastlr._search_options import seed_number
from fastlr.benchmarks import CASES, FULL, PEERS, QUICK, RULES, bench
from fastlr.benchmarks.cuda import CUDA_CASES, CUDA_FULL, CUDA_PEERS, CUDA_QUICK, DTYPES, bench_cuda
from fastlr.demo import demo

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EXPRESSION = "such as 'Warmup(.1, 500) >> Cosine(.1, 0, 9500)', a schedule's JSON, or @FILE with either"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="fastlr", description="Learning-rate schedules evaluated inside the optimizer.")
    top.add_argument("--version", action="version", version=f"fastlr {version('torch-fastlr')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_schedule_commands(commands)
    add_search_commands(commands)
    add_runs_command(commands)
    demo_parser = commands.add_parser(
        "demo",
        help="find a learning rate for a small network, train with it beside torch, and compare",
        description="The whole way on scikit-learn's digits: a range test, a sweep of rates around what it suggests, a "
        "training with the best one by fastlr.SGD and by torch.optim.SGD with torch's schedulers, and the same with "
        "other rates. Writes demo.png and demo.json. The exit status is 3 where no rate is found.",
    )
    add = demo_parser.add_argument
    add("-o", "--output", type=Path, default=Path("fastlr-demo"), metavar="DIR", help="default: %(default)s")
    add("--epochs", type=whole, default=30, metavar="N", help="passes over the data (%(default)s)")
    add("--rates", type=rate_count, default=9, metavar="N", help="rates in the sweep, 2 to 64 (%(default)s)")
    add("--seed", type=seed_number, default=0, metavar="N", help="of the split, weights and batches (%(default)s)")
    demo_parser.set_defaults(run=run_demo)

    info_parser = commands.add_parser(
        "info",
        help="show versions, the processor and what was found of CUDA",
        description="Show versions, the processor, and CUDA's devices or the reason why CUDA is not used.",
    )
    info_parser.add_argument("--json", action="store_true", help="print JSON")
    info_parser.set_defaults(run=run_info)
    add_bench_command(commands)
    return top


def add_bench_command(commands: Commands) -> None:
    bench_parser = commands.add_parser(
        "bench",
        help="time fastlr's optimizers against torch's, on the processor or on a GPU",
        description="Check that all sides compute the same, then time one step of each in turn. Each torch step "
        "includes CosineAnnealingLR.step(); fastlr's schedule is part of its step. On the processor an optimizer takes "
        "some 6 minutes, most of them in torch.compile; --quick less than one. Of fastlr's optimizers those that torch "
        "has too are timed: Lion has no other side.",
        epilog=f"--device cpu has the peers {', '.join(PEERS)} and the cases {', '.join(CASES)}; "
        f"--device cuda the peers {', '.join(CUDA_PEERS)} and the cases {', '.join(CUDA_CASES)}.",
    )
    add = bench_parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add("--optimizer", choices=(*RULES, "all"), default="sgd", help="which rule; default: %(default)s")
    add("--quick", action="store_true", help="fewer rounds, and compiled only where --peers names it")
    add("--peers", nargs="+", metavar="PEER", help="only these of torch's, see below")
    add("--cases", nargs="+", metavar="CASE", help="only these, see below")
    add("--dtypes", nargs="+", choices=DTYPES, metavar="DTYPE", help=f"with cuda, only these of: {', '.join(DTYPES)}")
    add("--threads", type=whole, metavar="N", help="with cpu, threads of torch and fastlr")
    add("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    bench_parser.set_defaults(run=run_bench, refuse=bench_parser.error)


def add_schedule_commands(commands: Commands) -> None:
    plot_parser = commands.add_parser(
        "plot",
        help="draw schedules in the terminal or into a file",
        description="Draw schedules: in the terminal, or with matplotlib into a file.",
    )
    add = plot_parser.add_argument
    add("expressions", nargs="+", metavar="EXPR", help=EXPRESSION)
    add("-o", "--output", type=picture_file, metavar="FILE", help="a .png, .svg or .pdf file to write")
    add("--steps", type=whole, metavar="N", help="the last step shown (the longest schedule's length)")
    add("--title", help="a line above the picture")
    add("--width", type=whole, metavar="N", help="characters in a line of the terminal (its width)")
    add("--ascii", action="store_true", help="draw with stars in the terminal, not with braille characters")
    plot_parser.set_defaults(run=run_plot)

    eval_parser = commands.add_parser(
        "eval",
        help="write schedules' values as CSV or JSON",
        description="Write the values of schedules, one row a step. CSV and JSON hold every float's exact digits.",
    )
    add = eval_parser.add_argument
    add("expressions", nargs="+", metavar="EXPR", help=EXPRESSION)
    add("--steps", type=steps_range, metavar="RANGE", help="N for 0 to N - 1, begin:end or begin:end:stride")
    add("--format", choices=("csv", "json"), default="csv", help="default: %(default)s")
    add("--dtype", choices=("float64", "float32"), default="float64", help="default: %(default)s")
    add("-o", "--output", type=Path, metavar="FILE", help="write to FILE, not to standard output")
    eval_parser.set_defaults(run=run_eval)


def rate_count(text: str) -> int:
    """How many rates a sweep of the demo has, as an argparse type."""
    if not 2 <= whole(text) <= 64:
        raise argparse.ArgumentTypeError(f"not from 2 to 64: {text!r}. Give such as 9")
    return int(text)


def run_demo(arguments: argparse.Namespace) -> int:
    found = demo(arguments.output, epochs=arguments.epochs, seed=arguments.seed, rates=arguments.rates)
    return 0 if found else NONE_FOUND


def run_info(arguments: argparse.Namespace) -> int:
    facts = info()
    print(json.dumps(facts, indent=1) if arguments.json else info_text(facts))
    return 0


def check_device(arguments: argparse.Namespace) -> None:
    """End with a usage error where a bench's option is one of the other device's."""
    device = arguments.device
    unfit = {"cpu": "dtypes", "cuda": "threads"}[device]
    if getattr(arguments, unfit) is not None:
        arguments.refuse(f"argument --{unfit}: not with --device {device}. Leave one of the two out")
    peers, cases = (PEERS, CASES) if device == "cpu" else (CUDA_PEERS, CUDA_CASES)
    for option, known in (("peers", peers), ("cases", cases)):
        for name in getattr(arguments, option) or ():
            if name not in known:
                choices = ", ".join(known)
                arguments.refuse(
                    f"argument --{option}: unknown with --device {device}: {name!r}. Use some of {choices}"
                )


def run_bench(arguments: argparse.Namespace) -> int:
    check_device(arguments)
    rules = tuple(RULES) if arguments.optimizer == "all" else (arguments.optimizer,)
    if arguments.device == "cuda":
        correct = bench_cuda(
            arguments.cases or CUDA_CASES,
            arguments.peers or CUDA_PEERS,
            arguments.dtypes or tuple(DTYPES),
            rules=rules,
            effort=CUDA_QUICK if arguments.quick else CUDA_FULL,
            json_file=arguments.json,
        )
        return 0 if correct else 1
    peers = arguments.peers or [peer for peer in PEERS if not (arguments.quick and peer == "compiled")]
    correct = bench(
        arguments.cases or CASES,
        peers,
        rules=rules,
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
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        close_quietly()
        return 0
    except OSError as error:  # a full disk
        print(f"fastlr {arguments.command}: {error}", file=sys.stderr)
        close_quietly()
        return 1
    except KeyboardInterrupt:
        print(f"fastlr {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return status
