"""One replica after another on each of several threads: whatever its operators leave idle, another replica uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch

from fastlr.sweeping.engines.base import Unsupported
from fastlr.sweeping.engines.sequential import Item, Result, Sequential
from fastlr.sweeping.replicas import Replicas
from fastlr.sweeping.subject import Subject


class Threaded(Sequential):
    """torch's threads are dealt out among the workers, so that a replica has the bits of a training on its part."""

    def __init__(self, subject: Subject, replicas: Replicas) -> None:
        super().__init__(subject, replicas)
        if not replicas.params[0].is_cpu:
            raise Unsupported("it is for a CPU")
        if subject.draws:
            raise Unsupported("the model draws random numbers, whose order threads mix up")
        self.workers = min(torch.get_num_threads(), replicas.at_once, len(replicas.live))

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
        self.stopped.clear()

        def begin() -> None:
            torch.get_num_threads()  # has torch set this thread up, which it would do later otherwise, and with all
            torch.set_num_threads(max(1, threads // self.workers))
            torch.set_grad_enabled(grad)

        name = f"fastlr-sweep-{id(self)}"
        with ThreadPoolExecutor(self.workers, name, begin) as pool:
            try:
                futures = [pool.submit(function, item) for item in items]
                return [future.result() for future in futures]
            finally:  # also after Ctrl-C, which only this thread gets
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                for one in threading.enumerate():  # a Ctrl-C that came as it started one: the pool does not know it
                    if one.name.startswith(name):
                        one.join()
                torch.set_num_threads(threads)  # what threads that begin later have
