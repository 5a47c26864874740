"""The checks of the recipe's and the norm's machine code pass on loops as they should be, and fail on spoiled ones."""

from collections.abc import Callable, Iterable
from pathlib import Path

import check_device
import pytest
from device_code import Resources, inner_loops, parse_instructions
from device_loops import RULES, norm_problems, recipe_problems

# The loops of the norm: (loads, their modifiers, squares), of float32, float64, float16 and bfloat16 in turn. A thread
# has four elements of a row, and 64 bytes in flight, or what one row leaves.
NORMS = [
    (4, "LDG.E.128", 16),
    (1, "LDG.E.128", 4),
    (4, "LDG.E.128", 8),
    (2, "LDG.E.128", 4),
    *[(8, "LDG.E.64", 32), (1, "LDG.E.64", 4)] * 2,
]


def loop(begin: int, *parts: str) -> str:
    """nvdisasm's text of the instructions, and a branch back to the first."""
    lines = [*parts, f"@P0 BRA {begin:#x}"]
    return "".join(f"        /*{begin + 16 * i:04x}*/   {line} ;\n" for i, line in enumerate(lines))


def loads(name: str, count: int, first: int) -> list[str]:
    return [f"{name} R{first + 4 * i}, desc[UR8][R2.64+{i:#x}]" for i in range(count)]


def stores(name: str, count: int) -> list[str]:
    return [f"{name} desc[UR8][R2.64+{i:#x}], R8" for i in range(count)]


def of_recipe(states: int) -> list[str]:
    """Of weights, gradient, states and the average, float32 and, but for the average, 16 bits of two types."""
    narrow = 2 * (3 + states) + 1  # with the parameter of a master and the zeroed gradient; bfloat16 rounded randomly
    return [
        *loads("LDG.E.128", 3 + states, 8),
        *loads("LDG.E.64", 2 + states, 64),
        "FMUL R100, R8, R12",
        *stores("STG.E.128", 4 + states),
        *stores("STG.E.64", narrow),
    ]


def recipe_text(*bodies: Iterable[str]) -> str:
    return "".join(loop(0x1000 * (i + 1), *body) for i, body in enumerate(bodies))


def recipe_found(text: str, rule: str = "sgd") -> list[str]:
    return list(recipe_problems(list(inner_loops(parse_instructions(text))), RULES[rule]))


SINGLES = ["LDG.E R8, desc[UR8][R2.64]", "FMUL R9, R8, R8", "STG.E desc[UR8][R2.64], R9"]


@pytest.mark.parametrize("rule", RULES)
def test_a_recipe_s_loops_pass(rule: str) -> None:
    assert recipe_found(recipe_text(SINGLES, of_recipe(RULES[rule].states), ["NOP"]), rule) == []


def test_a_recipe_without_its_loop_of_vectors_or_with_two_is_found() -> None:
    body = of_recipe(1)
    assert recipe_found(recipe_text(SINGLES)) == ["0 loops of vectors instead of one"]
    assert recipe_found(recipe_text(body, body)) == ["2 loops of vectors instead of one"]


SPOILED = [
    ("LDG.E.128", "LDG.E", "('load', 4): 1"),
    ("LDG.E.64", "LDG.E", "('load', 8): 2"),
    ("STG.E.128", "STG.E.64", "('store', 8): 10"),
    ("STG.E.64", "STG.E.U16", "('store', 2): 1"),
    ("STG.E.64", "NOP", "('store', 8): 8"),
    ("STG.E.64", "LDG.E.64", "('load', 8): 4"),
]


@pytest.mark.parametrize(("old", "new", "said"), SPOILED)
def test_a_spoiled_access_of_a_recipe_is_found(old: str, new: str, said: str) -> None:
    body = of_recipe(1)
    at = next(i for i, line in enumerate(body) if line.split()[0] == old)
    body[at] = body[at].replace(old, new)
    accesses, *others = recipe_found(recipe_text(SINGLES, body))
    assert accesses.startswith("a loop has the accesses {")
    assert said in accesses.split(" instead of ")[0]
    wanted = "{('load', 16): 4, ('load', 8): 3, ('store', 16): 5, ('store', 8): 9}"
    assert accesses.endswith(f" instead of {wanted}")
    assert len(others) == (new == "LDG.E.64")  # which comes after the first use


def test_arithmetic_of_doubles_in_a_recipe_of_float32_is_found() -> None:
    body = [line.replace("FMUL", "DMUL") for line in of_recipe(1)]
    assert recipe_found(recipe_text(SINGLES, body)) == ["a loop of float32 has DMUL"]


@pytest.mark.parametrize(("rule", "allowed"), [("sgd", 0), ("adam", 0), ("lion", 1)])
@pytest.mark.parametrize("late", [1, 2])
def test_a_recipe_s_early_use_of_a_load_is_found(rule: str, allowed: int, late: int) -> None:
    body = of_recipe(RULES[rule].states)
    use = next(i for i, line in enumerate(body) if line.startswith("FMUL"))
    body.insert(use - late, body.pop(use))
    count = 5 + 2 * RULES[rule].states
    said = [f"a loop has {count - late} of {count} loads before the first use"] if late > allowed else []
    assert recipe_found(recipe_text(SINGLES, body), rule) == said


def norm_bodies(loops: Iterable[tuple[int, str, int]] = tuple(NORMS)) -> list[list[str]]:
    bodies = []
    for count, name, squares in loops:
        fused = [f"DFMA R{200 + i}, R8, R8, R{200 + i}" for i in range(squares)]
        bodies.append([*loads(name, count, 8), *fused])
    return bodies


def norm_found(bodies: Iterable[Iterable[str]]) -> list[str]:
    return list(norm_problems(list(inner_loops(parse_instructions(recipe_text(*bodies))))))


def test_the_norm_s_loops_pass() -> None:
    """Beside the others, which add up what is left over, lanes and chunks."""
    adds = ["LDS.64 R8, [R2]", "DADD R8, R8, R10", "STS.64 [R2], R8"]
    assert norm_found([*norm_bodies(), adds, SINGLES, ["LDG.E.64 R8, desc[UR8][R2.64]", "DADD R10, R8, R10"]]) == []


@pytest.mark.parametrize("missing", range(len(NORMS)))
def test_a_missing_loop_of_the_norm_is_found(missing: int) -> None:
    count, name, squares = NORMS[missing]
    kept = [one for i, one in enumerate(NORMS) if i != missing]
    width = {"LDG.E.128": 16, "LDG.E.64": 8}[name]
    said = f"no loop has {count} loads of {width} bytes before the first use, {squares} squares"
    assert norm_found(norm_bodies(kept)) == [said]


def narrower(body: list[str]) -> None:
    body[0] = body[0].replace("E.128", "E.64")


def without_a_square(body: list[str]) -> None:
    body.pop()


def in_float32(body: list[str]) -> None:
    body[:] = [line.replace("DFMA", "FFMA") for line in body]


def used_early(body: list[str]) -> None:
    body.insert(1, body.pop())


def with_a_store(body: list[str]) -> None:
    body += stores("STG.E.64", 1)


@pytest.mark.parametrize("spoil", [narrower, without_a_square, in_float32, used_early, with_a_store])
def test_a_spoiled_norm_is_found(spoil: Callable[[list[str]], None]) -> None:
    bodies = norm_bodies()
    spoil(bodies[0])
    assert norm_found(bodies) == ["no loop has 4 loads of 16 bytes before the first use, 16 squares"]


@pytest.mark.parametrize("kernel", ["fastlr_norm", *check_device.RECIPES])
def test_the_checks_are_made_of_the_images(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With code that has no loop at all."""
    resources = dict.fromkeys(check_device.KERNELS, Resources(80, 0, 0, 0, 4096))
    monkeypatch.setattr(check_device, "instructions", lambda *_: [])
    found = [*check_device.image_problems(Path("sm_86_long.0123.cubin"), resources)]
    said = "no loop has 4 loads" if kernel == "fastlr_norm" else "0 loops of vectors"
    assert any(problem.startswith(f"{kernel}: {said}") for problem in found)
