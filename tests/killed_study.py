"""Workers on one study, for test_study_killed.py to kill.

A server: it imports torch and Optuna once, and forks a worker for each line of its input: `LABEL FILE AT_ONCE LAST`. A
worker tells, a line each after its label, what it trains and what it begins to write; before it writes for the LAST-th
time it kills itself, unless that is 0. At its end it tells its result.
"""

import gc
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from study_cases import EXACT, RATES, training

from fastlr.studying import study, sweep_work
from fastlr.studying.store import Store
from fastlr.sweeping import Sweep, swept

SLOW = 0.001  # seconds for each loss: trainings that last a while


class Worker:
    def __init__(self, label: str, last: int) -> None:
        self.label, self.last, self.writes = label, last, 0

    def tell(self, event: object) -> None:
        os.write(1, f"{self.label} {event}\n".encode())

    def patient(self, store: Store, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """In place of `Store._patient`, which every call of a storage goes through."""
        name = call.__name__
        if name.startswith(("set_trial", "create_new_trial", "record")):
            self.writes += 1
            self.tell(f"write {name}")
            if self.writes == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
        return PATIENT(store, call, *arguments, **named)

    def swept(self, model: Any, loss_fn: Any, forward: Any, loader: Any, asked: Any, *others: Any) -> Sweep:
        """In place of `swept`, which trains."""
        self.tell(f"train {' '.join(repr(entry.given) for entry in asked.entries)}")
        return swept(model, loss_fn, forward, loader, asked, *others)


PATIENT = Store._patient


def result(file: str, at_once: int) -> Sweep:
    model, loss_fn, batches = training()

    def slowly(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        time.sleep(SLOW)
        return loss_fn(output, target)

    return study("killed", file).sweep(model, slowly, batches, RATES, at_once=at_once, **EXACT)


def told(found: Sweep) -> str:
    """All bits of a result."""
    parts = [found.losses.tobytes(), found.rates.tobytes(), repr((found.entries, found.diverged, found.start)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def work(label: str, file: str, at_once: str, last: str) -> None:
    worker = Worker(label, int(last))
    Store._patient = lambda *arguments, **named: worker.patient(*arguments, **named)  # type: ignore[method-assign]
    sweep_work.swept = worker.swept  # type: ignore[assignment]
    worker.tell(f"process {os.getpid()}")
    worker.tell(f"result {told(result(file, int(at_once)))}")


def main() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers
    with tempfile.TemporaryDirectory() as folder:  # so that all imports are done here, once
        result(f"{folder}/runs.db", 5)
    gc.collect()
    for line in sys.stdin:
        if os.fork() == 0:
            signal.alarm(60)  # one that hangs ends the test
            label = line.split()[0]
            try:
                work(*line.split())
            except BaseException as error:
                os.write(1, f"{label} failed {error!r}\n".encode())
            os._exit(0)


if __name__ == "__main__":
    main()
