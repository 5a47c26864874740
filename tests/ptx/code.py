"""An instruction as the scheduler sees it."""

from dataclasses import dataclass
from enum import Enum, auto

from ptx.values import Step


class Kind(Enum):
    private = auto()  # seen by the thread itself only
    visible = auto()  # global or shared memory: what other threads may see
    branch = auto()
    barrier = auto()
    leave = auto()


@dataclass(frozen=True)
class Code:
    """One instruction, ready to run."""

    kind: Kind
    text: str
    step: Step | None = None
    guard: int | None = None  # slot of the predicate register
    negated: bool = False
    target: int = 0  # of a branch
