"""What the loops of the kernels have to do, by rule and element type, and what machine code does."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from device_code import Instruction

VECTOR_BYTES = 16


@dataclass(frozen=True)
class Form:
    """What a rule's header does to one element: arrays read and written, and its operations with every option on."""

    name: str
    loads: int
    stores: int
    fmas: int
    products: int
    sums: int = 0
    divisions: int = 0
    roots: int = 0


@dataclass(frozen=True)
class Rule:
    name: str
    states: int
    vectors: int  # of each array that a thread of the main loop has in flight
    forms: tuple[Form, ...]  # what models are trained with comes last
    late: int = 0  # loads that may come after the first use of another


_SGD = Rule(
    "sgd",
    states=1,
    vectors=2,
    forms=(
        Form("without momentum", loads=2, stores=1, fmas=2, products=2),  # direction * grad, kept * param; decay, step
        Form("first momentum", loads=2, stores=2, fmas=3, products=2),  # and Nesterov's
        Form("momentum", loads=3, stores=2, fmas=4, products=3),  # and momentum * buffer; dampening
    ),
)
# Products: direction * grad, two of the square's average, kept * param, step_size * average. Sums: what the average
# moves by, eps, the step. Fused: decay, both averages.
_ADAM = Rule(
    "adam",
    states=3,
    vectors=1,
    forms=(
        Form("amsgrad", loads=5, stores=4, fmas=3, products=5, sums=3, divisions=2, roots=1),
        Form("plain", loads=4, stores=3, fmas=3, products=5, sums=3, divisions=2, roots=1),
    ),
)
# Products: direction * grad, beta1 and beta2 * average, kept * param. The sum is the sign's. One load is late in 16-bit
# elements on sm_70 and sm_75.
_LION = Rule(
    "lion",
    states=1,
    vectors=2,
    forms=(Form("plain", loads=3, stores=2, fmas=3, products=4, sums=1),),
    late=1,
)
RULES = {rule.name: rule for rule in (_SGD, _ADAM, _LION)}


@dataclass(frozen=True)
class Element:
    name: str
    bytes: int
    prefix: str  # of the operations it is computed with
    has_kernel: bool = False  # of its own; the mixed one takes the others

    def kernel(self, rule: Rule) -> str:
        return f"fastlr_{rule.name}_{self.name if self.has_kernel else 'mixed'}"


ELEMENTS = (
    Element("float32", 4, "F", has_kernel=True),
    Element("float64", 8, "D"),
    Element("float16", 2, "F"),
    Element("bfloat16", 2, "F", has_kernel=True),
)

# What compilers make of an IEEE division and square root, beside the calls that rare operands take.
DIVISION = {
    "F": {"FFMA": 5, "MUFU.RCP": 1},
    "D": {"DFMA": 7, "DMUL": 1, "FFMA": 1, "MUFU.RCP64H": 1},
}
ROOT = {
    "F": {"FFMA": 2, "FMUL": 2, "MUFU.RSQ": 1},
    "D": {"DFMA": 5, "DMUL": 3, "MUFU.RSQ64H": 1},
}


def elements_of_kernels() -> dict[str, tuple[Rule, tuple[Element, ...]]]:
    """By the name of each kernel that updates: its rule, and the element types that it has loops for."""
    kernels = {element.kernel(rule): (rule, (element,)) for rule in RULES.values() for element in ELEMENTS}
    return kernels | {f"fastlr_{rule.name}_mixed": (rule, ELEMENTS) for rule in RULES.values()}


@dataclass(frozen=True)
class Work:
    """What one turn of a loop does, for one thread."""

    loads: int  # of 16 bytes
    stores: int
    narrow: int  # loads and stores of less
    in_flight: int  # loads before the first instruction that uses what one of them brings
    arithmetic: tuple[tuple[str, int], ...]  # float32 and float64 instructions

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.arithmetic)
        return (
            f"{self.loads} loads ({self.in_flight} before the first use) and {self.stores} stores of {VECTOR_BYTES} "
            f"bytes, {self.narrow} of fewer, {counts}"
        )


def needed(element: Element, form: Form, vectors: int) -> Work:
    """The main loop's work, and with one vector that of the loop for what is left over."""
    lanes = vectors * VECTOR_BYTES // element.bytes
    lane = Counter({f"{element.prefix}FMA": form.fmas, f"{element.prefix}MUL": form.products})
    lane[f"{element.prefix}ADD"] += form.sums
    for count, sequence in ((form.divisions, DIVISION), (form.roots, ROOT)):
        lane.update({name: count * each for name, each in sequence[element.prefix].items()})
    arithmetic = tuple(sorted((name, lanes * count) for name, count in lane.items() if count))
    return Work(form.loads * vectors, form.stores * vectors, 0, form.loads * vectors, arithmetic)


def _registers(operand: str) -> set[int]:
    return {int(number) for number in re.findall(r"\bR(\d+)", operand)}


def _loads_in_flight(loop: list[Instruction]) -> int:
    loaded: set[int] = set()
    count = 0
    for step in loop:
        sources = step.operands if step.is_global_store else step.operands[1:]
        if any(loaded & _registers(operand) for operand in sources):
            break
        if step.is_global_load:
            (first,) = _registers(step.operands[0])
            loaded |= set(range(first, first + step.bytes // 4))
            count += 1
    return count


def _arithmetic(loop: list[Instruction]) -> Iterator[str]:
    for step in loop:
        if re.fullmatch(r"F(FMA|MUL|ADD)2?|D(FMA|MUL|ADD)", step.operation):
            yield step.operation
        elif step.operation == "MUFU":
            yield step.name


def work_of(loop: list[Instruction]) -> Work:
    accesses = [step for step in loop if step.is_global_load or step.is_global_store]
    wide = [step for step in accesses if step.bytes == VECTOR_BYTES]
    return Work(
        loads=sum(step.is_global_load for step in wide),
        stores=sum(step.is_global_store for step in wide),
        narrow=len(accesses) - len(wide),
        in_flight=_loads_in_flight(loop),
        arithmetic=tuple(sorted(Counter(_arithmetic(loop)).items())),
    )


def _without_late(work: Work, rule: Rule) -> Work:
    return replace(work, in_flight=work.loads) if work.loads - work.in_flight <= rule.late else work


def loop_problems(loops: list[list[Instruction]], rule: Rule, elements: tuple[Element, ...]) -> Iterator[str]:
    """What differs from one loop for each element type and form, and one each for the vectors that are left over."""
    names: dict[Work, str] = {}
    wanted: Counter[Work] = Counter()
    for element in elements:
        for form in rule.forms:
            for count in {rule.vectors, 1}:
                work = needed(element, form, count)
                wanted[work] += 1
                names.setdefault(work, f"{element.name}, {rule.name}, {form.name}, vectors: {count}")
    found = Counter(_without_late(work, rule) for work in map(work_of, loops) if work.loads)
    for work in (wanted - found).elements():
        yield f"no loop ({names[work]}) has {work}"
    for work in (found - wanted).elements():
        yield f"a loop has {work}"


# Of 16 bytes, and of the 8 that four 16-bit elements are; nothing narrower. A tensor's types choose among them.
Accesses = dict[tuple[str, int], int]


def recipe_accesses(rule: Rule) -> Accesses:
    """Of the loop of vectors in a kernel of updates with a recipe. The average is never of 16 bits."""
    return {
        ("load", 16): 3 + rule.states,  # weights, gradient, average
        ("load", 8): 2 + rule.states,
        ("store", 16): 4 + rule.states,  # and the parameter that a master is rounded to
        ("store", 8): 2 * (3 + rule.states) + 1,  # two types each; and bfloat16 that is rounded randomly
    }


def accesses_of(loop: list[Instruction]) -> Accesses:
    loads = Counter(("load", step.bytes) for step in loop if step.is_global_load)
    return dict(loads + Counter(("store", step.bytes) for step in loop if step.is_global_store))


def recipe_problems(loops: list[list[Instruction]], rule: Rule) -> Iterator[str]:
    """What differs from one loop of vectors, in which all arrays are loaded before the first is used."""
    vectors = [loop for loop in loops if ("load", VECTOR_BYTES) in accesses_of(loop)]
    if len(vectors) != 1:
        yield f"{len(vectors)} loops of vectors instead of one"
    for loop in vectors:
        wanted, found, work = recipe_accesses(rule), accesses_of(loop), work_of(loop)
        if found != wanted:
            yield f"a loop has the accesses {found} instead of {wanted}"
        loads = sum(count for (kind, _), count in found.items() if kind == "load")
        if work.in_flight + rule.late < loads:
            yield f"a loop has {work.in_flight} of {loads} loads before the first use"
        doubles = [name for name, _ in work.arithmetic if name.startswith("D")]
        if doubles:
            yield f"a loop of float32 has {', '.join(doubles)}"


# A thread of the norm's kernel has so many bytes in flight; four elements that lie side by side are its share of a row.
NORM_BYTES = 64
NORM_LANES = 4


def norm_work() -> Counter[tuple[int, int, int]]:
    """By width, loads and squares of each loop of vectors: of several rows, and of the single ones that are left."""
    wanted: Counter[tuple[int, int, int]] = Counter()
    for element in ELEMENTS:
        row = NORM_LANES * element.bytes
        width = min(row, VECTOR_BYTES)
        for rows in (NORM_BYTES // row, 1):
            wanted[width, rows * row // width, rows * NORM_LANES] += 1
    return wanted


def norm_problems(loops: list[list[Instruction]]) -> Iterator[str]:
    found: Counter[tuple[int, int, int]] = Counter()
    for loop in loops:
        work, accesses = work_of(loop), accesses_of(loop)
        squares = dict(work.arithmetic).get("DFMA", 0)
        if len(accesses) != 1 or squares < NORM_LANES:
            continue
        (((kind, width), count),) = accesses.items()
        if kind == "load" and work.in_flight == count:
            found[width, count, squares] += 1
    for width, count, squares in (norm_work() - found).elements():
        yield f"no loop has {count} loads of {width} bytes before the first use, {squares} squares"
