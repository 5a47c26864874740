"""What the interpreter raises."""


class Unsupported(Exception):
    """PTX that the interpreter does not know: never executed as something else."""

    def __init__(self, problem: str, text: str) -> None:
        super().__init__(f"{problem}: `{text}`. Teach tests/ptx this form, or write the kernel without it.")


class Trap(Exception):
    """Raised inside an instruction by one of the threads that execute it: the position among them."""

    def __init__(self, problem: str, position: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position


class Fault(Exception):
    """A defect of a kernel or of its launch: which instruction, in which block and thread."""

    def __init__(self, problem: str, *, kernel: str, text: str, block: int, thread: int) -> None:
        super().__init__(f"{problem}: `{text}` in {kernel}, block {block}, thread {thread}")
        self.problem = problem
        self.kernel = kernel
        self.text = text
        self.block = block
        self.thread = thread
