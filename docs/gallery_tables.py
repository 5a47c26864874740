"""What docs/gallery.py shows: every entry's expressions, and names of other libraries beside fastlr's."""

from typing import NamedTuple


class Entry(NamedTuple):
    """One picture. `documented` names the class or function whose docstring is quoted."""

    title: str
    picture: str
    expressions: tuple[str, ...]
    documented: str = ""
    text: str = ""
    steps: int | None = None


def family(name: str, *expressions: str, text: str = "", steps: int | None = None) -> Entry:
    """An entry about one public class or function."""
    return Entry(name, name.lower(), expressions, name, text, steps)


FAMILIES = (
    family("Constant", "Constant(0.1)", steps=1000),
    family("Linear", "Linear(0.1, 0, 1000)", steps=1200),
    family("Line", "Line(0, 0.1, 500)", steps=1000),
    family("Warmup", "Warmup(0.1, 200)", steps=1000),
    family(
        "Cosine", "Cosine(0.1, 0, 1000)", "Cosine(0.1, 0, 1000, k=2)", steps=1200, text="`k` bends the time (k-decay)."
    ),
    family("Polynomial", "Polynomial(0.1, 0, 1000, 2)", "Polynomial(0.1, 0, 1000, 0.5)", steps=1200),
    family(
        "Power", "Power(0.1, 0, 1000, 0.5)", "Power(0.1, 0, 1000, 2)", steps=1200, text="A power of 0.5 is 1 - sqrt(u)."
    ),
    family("Tanh", "Tanh(0.1, 0, 1000)", steps=1200),
    family("Geometric", "Geometric(0.1, 1e-4, 1000)", steps=1200),
    family("Logarithmic", "Logarithmic(0, 0.1, 200) >> Constant(0.1)", steps=1000),
    family(
        "NormalizedExponential",
        "NormalizedExponential(0.1, 0, 1000)",
        "NormalizedExponential(0.1, 0, 1000, 0.01)",
        steps=1200,
    ),
    family("Exponential", "Exponential(0.1, 0.995)", "Exponential(0.1, 0.5, period=300)", steps=1000),
    family("Step", "Step(0.1, 300, 0.5)", steps=1000),
    family("MultiStep", "MultiStep(0.1, (300, 600, 800), 0.3)", steps=1000),
    family("InverseSqrt", "InverseSqrt(0.1, 100)", steps=1000),
    family("InverseTime", "InverseTime(0.1, 0.01)", steps=1000),
    family("Piecewise", "Piecewise((200, 500, 700), (0.05, 0.1, 0.03, 0.01))", steps=1000),
    family("Table", "Table((0.1, 0.08, 0.09, 0.05, 0.06, 0.02, 0.03, 0.01, 0.005, 0))", steps=12),
    family(
        "CosineRestarts",
        "CosineRestarts(0.1, 0, 200, growth=1.5, decay=0.8)",
        "CosineRestarts(0.05, 0, 250, cycles=3)",
        steps=1200,
    ),
    family("CosineCycles", "CosineCycles(0.1, 0, 266.7)", "CosineCycles(0.08, 0, 266.7, mirror=True)", steps=1000),
    family("Cyclic", "Cyclic(0.01, 0.1, 125)", steps=1000, text="`.momentum` is the schedule of the momentum."),
    Entry(
        "Cyclic, triangular2",
        "cyclic-triangular2",
        ('Cyclic(0.01, 0.1, 125, mode="triangular2")',),
        text="Every cycle has half the height of the one before.",
        steps=1000,
    ),
    Entry(
        "Cyclic, exp_range",
        "cyclic-exp-range",
        ('Cyclic(0.01, 0.1, 125, mode="exp_range", gamma=0.998)',),
        text="The height falls with every step, and so does the swing of the momentum.",
        steps=1000,
    ),
    family("OneCycle", "OneCycle(0.1, 1000)", text="`.momentum` is the schedule of the momentum."),
    family("OneCycleMomentum", "OneCycleMomentum(1000)"),
    family("WithMomentum", "WithMomentum(Cosine(0.1, 0, 1000), Linear(0.85, 0.95, 1000))"),
    family(
        "ReduceOnPlateau",
        "ReduceOnPlateau(Cosine(0.1, 0, 1000))",
        text="The picture shows the schedule alone; the rate of update t is `schedule(t) * scale`.",
    ),
)

ALGEBRA = (
    family("Sequence", "Warmup(0.1, 200) >> Constant(0.1, 500) >> Linear(0.1, 0, 300)"),
    family("Product", "Linear(0.1, 0, 1000) * CosineRestarts(1, 0.5, 200)"),
    family("Sum", "Linear(0.1, 0, 1000) + CosineRestarts(0.02, 0, 200)", text="`a - b` is `a + b * -1.0`.", steps=999),
    family("Quotient", "Linear(0.1, 0, 1000) / Linear(1, 3, 1000)"),
    family("Minimum", "minimum(Linear(0, 0.2, 1000), Cosine(0.1, 0, 1000))"),
    family("Maximum", "maximum(Cosine(0.1, 0, 1000), 0.02)"),
    Entry(
        "clip",
        "clip",
        ("Cosine(0.1, 0, 1000).clip(low=0.01, high=0.08)",),
        text="`s.clip(low, high)` is `minimum(maximum(s, low), high)`.",
    ),
    family("PowerOf", "Linear(1, 0, 1000) ** 2"),
    family("Shift", "Cosine(0.1, 0, 800).shift(200)"),
    family("Hold", "Exponential(0.1, 0.997).hold(400)", steps=1000),
    family("PerEpoch", "Cosine(0.1, 0, 10).per_epoch(100)"),
    family("Staircase", "Cosine(0.1, 0, 1000).floor(100)"),
    family("Repeat", "Linear(0.1, 0, 200).repeat(3, decay=0.7, growth=1.5)"),
    Entry(
        "stretch and over",
        "stretch",
        ("(Warmup(0.1, 5) >> Cosine(0.1, 0, 95)).over(1000)", "(Warmup(0.1, 5) >> Cosine(0.1, 0, 95)).stretch(5)"),
        text="`s.stretch(factor)` multiplies every step count; `s.over(total)` makes the length exactly total, so that "
        "lengths can be written as shares.",
    ),
)

ENDS = (
    Entry(
        "hold", "end-hold", ("Linear(0.1, 0.02, 600)",), steps=1000, text="The last value holds: this needs no method."
    ),
    family(
        "PastEnd",
        'Cosine(0.1, 0, 400).past_end("extrapolate")',
        steps=1000,
        text="The picture shows `s.past_end('extrapolate')`, which goes on with the formula where there is one: "
        "torch's cosine rises again like this.",
    ),
    Entry(
        "another schedule",
        "end-next",
        ("Cosine(0.1, 0.01, 600) >> Constant(0.01)", "Cosine(0.1, 0.01, 600) >> Linear(0.02, 0, 400)"),
        steps=1000,
        text="`>>` says what follows.",
    ),
    Entry(
        "again", "end-again", ("Cosine(0.1, 0, 250).repeat()",), steps=999, text="`repeat()` starts anew, without end."
    ),
)

RECIPES = (
    family("warmup_cosine", "warmup_cosine(0.1, 1000, warmup=0.1)"),
    family(
        "warmup_stable_decay",
        "warmup_stable_decay(0.1, 1000)",
        'warmup_stable_decay(0.1, 1000, decay=0.4, shape="1-sqrt")',
        'warmup_stable_decay(0.1, 1000, decay=0.6, shape="cosine")',
    ),
    family("noam", "noam(512, 400)", steps=2000),
    family("inverse_sqrt", "inverse_sqrt(0.1, 100)", steps=1000),
    family("range_test", "range_test(1e-4, 1, 1000)"),
)

# The base rate is 0.1; both sides are evaluated and compared by the tests.
DIALECTS = (
    ("torch.ConstantLR(0.1, factor=0.5, total_iters=5)", "Constant(0.05, 5) >> Constant(0.1)"),
    ("torch.LinearLR(0.1, start_factor=0.1, total_iters=50)", "Linear(0.01, 0.1, 50)"),
    ("torch.StepLR(0.1, step_size=30)", "Step(0.1, 30, 0.1)"),
    ("torch.MultiStepLR(0.1, milestones=[30, 80])", "MultiStep(0.1, (30, 80), 0.1)"),
    ("torch.ExponentialLR(0.1, gamma=0.99)", "Exponential(0.1, 0.99)"),
    ("torch.PolynomialLR(0.1, total_iters=100, power=2.0)", "Polynomial(0.1, 0, 100, 2)"),
    ("torch.CosineAnnealingLR(0.1, T_max=100)", "Cosine(0.1, 0, 100).past_end('extrapolate')"),
    ("torch.CosineAnnealingWarmRestarts(0.1, T_0=10, T_mult=2)", "CosineRestarts(0.1, 0, 10, growth=2)"),
    ("torch.CyclicLR(0.01, 0.1, step_size_up=20)", "Cyclic(0.01, 0.1, 20)"),
    ("torch.OneCycleLR(0.1, total_steps=100)", "OneCycle(0.1, 100)"),
    ("transformers.get_linear_schedule_with_warmup(0.1, 10, 100)", "Linear(0, 0.1, 10) >> Linear(0.1, 0, 90)"),
    ("transformers.get_cosine_schedule_with_warmup(0.1, 10, 100)", "Linear(0, 0.1, 10) >> Cosine(0.1, 0, 90)"),
    ("transformers.get_inverse_sqrt_schedule(0.1, 10)", "Linear(0, 0.1, 10) >> InverseSqrt(0.1, 10)"),
    ("transformers.get_constant_schedule_with_warmup(0.1, 10)", "Linear(0, 0.1, 10) >> Constant(0.1)"),
    ("timm.CosineLRScheduler(0.1, t_initial=100, lr_min=1e-5)", "Cosine(0.1, 1e-5, 100)"),
    ("timm.TanhLRScheduler(0.1, t_initial=100)", "Tanh(0.1, 0, 100)"),
    ("timm.PolyLRScheduler(0.1, t_initial=100, power=0.5)", "Polynomial(0.1, 0, 100, 0.5)"),
    (
        "timm.ema_decay(0.99, warmup=True)",
        "Constant(0, 1) >> minimum(1 - InverseTime(1, 1) ** (2 / 3), 0.99).shift(-1)",
    ),
    ("ultralytics.ema_decay(0.99, tau=50)", "0.99 * (1 - Exponential(1, 0.36787944117144233, 50).shift(-1))"),
    ("optax.linear_schedule(0.1, 0.01, 100)", "Linear(0.1, 0.01, 100)"),
    ("optax.cosine_decay_schedule(0.1, 100)", "Cosine(0.1, 0, 100)"),
    ("optax.polynomial_schedule(0.1, 0.01, 2, 100)", "Polynomial(0.1, 0.01, 100, 2)"),
    ("optax.exponential_decay(0.1, 20, 0.5)", "Exponential(0.1, 0.5, period=20)"),
    ("optax.exponential_decay(0.1, 20, 0.5, staircase=True)", "Step(0.1, 20, 0.5)"),
)
# keras has no module in fastlr.compat. Its PiecewiseConstantDecay holds the old value at a boundary itself.
KERAS = (
    ("keras CosineDecay(0.1, 100)", "Cosine(0.1, 0, 100)"),
    ("keras CosineDecayRestarts(0.1, 10, t_mul=2.0, m_mul=0.9)", "CosineRestarts(0.1, 0, 10, growth=2, decay=0.9)"),
    ("keras ExponentialDecay(0.1, 20, 0.5)", "Exponential(0.1, 0.5, period=20)"),
    ("keras InverseTimeDecay(0.1, 20, 0.5)", "InverseTime(0.1, 0.5 / 20)"),
    ("keras PolynomialDecay(0.1, 100, 0.01, power=2.0)", "Polynomial(0.1, 0.01, 100, 2)"),
    ("keras PiecewiseConstantDecay([20, 50], [0.1, 0.05, 0.01])", "Piecewise((21, 51), (0.1, 0.05, 0.01))"),
)
