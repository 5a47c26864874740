"""Two processes with a gloo group between them, which run one function after another: starting them takes seconds."""

import io
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

SECONDS = 60.0  # for one function; a rank that waits for one that has failed never ends by itself


def _packed(answer: Any) -> bytes:
    file = io.BytesIO()
    torch.save(answer, file)
    return file.getvalue()


def _serve(rank: int, world: int, store: str, tasks: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
    while (task := tasks.recv()) is not None:
        function, arguments = task
        try:
            answer = _packed((True, function(**arguments)))
        except BaseException:
            answer = _packed((False, traceback.format_exc()))
        tasks.send_bytes(answer)
    dist.destroy_process_group()


class Ranks:
    """The processes of one group, started at the first use; after a failure, anew."""

    def __init__(self, folder: Path, world: int = 2) -> None:
        self._folder, self._world, self._started = folder, world, 0
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []

    def run(self, function: Callable[..., Any], **arguments: Any) -> list[Any]:
        """What the function, importable by name, returns on each rank: what torch.save takes."""
        if not self._processes:
            self._start()
        for pipe in self._pipes:
            pipe.send((function, arguments))
        answers: dict[int, Any] = {}
        while len(answers) < self._world:
            ready = wait([pipe for rank, pipe in enumerate(self._pipes) if rank not in answers], SECONDS)
            found = {rank: self._answer(pipe) for rank, pipe in enumerate(self._pipes) if pipe in ready}
            failures = [f"rank {rank}: {answer}" for rank, (done, answer) in found.items() if not done]
            if failures or not ready:
                self.kill()
                raise RuntimeError("\n".join(failures) or f"No rank has answered within {SECONDS} s.")
            answers.update({rank: answer for rank, (_, answer) in found.items()})
        return [answers[rank] for rank in range(self._world)]

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(SECONDS)
        self.kill()

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes = [], []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._started += 1
        store = str(self._folder / f"store{self._started}")
        for rank in range(self._world):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, self._world, store, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    @staticmethod
    def _answer(pipe: Connection) -> tuple[bool, Any]:
        try:
            done, answer = torch.load(io.BytesIO(pipe.recv_bytes()), weights_only=True)
            return done, answer
        except EOFError:
            return False, "the process has ended"
