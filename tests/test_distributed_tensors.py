"""DTensors in every layout: the bits of torch's optimizers, by the core where parameter, gradient and state agree."""

import pytest
import torch
from sgd_cases import NATIVE, assert_same_bits

if not torch.distributed.is_available():
    pytest.skip("needs a torch that was built with distributed", allow_module_level=True)

from distributed_processes import Ranks
from distributed_runs import RULES
from distributed_tensors import IN_PARTS, LAYOUTS, first_update_at_rate_0, stale_backward, update, versions

# torch refuses what is not linear of sums whose parts it has.
CASES = [(layout, rule) for layout in LAYOUTS for rule in ("SGD", "AdamW") if (layout, rule) != (IN_PARTS, "AdamW")]


@pytest.mark.parametrize(("layout", "rule"), CASES)
def test_layouts(ranks: Ranks, layout: str, rule: str) -> None:
    *_, native = LAYOUTS[layout]
    ours, theirs = (ranks.run(update, layout=layout, rule=rule, maker=maker) for maker in ("fastlr", "torch"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["state"].keys() == other["state"].keys()
        if RULES[rule].exact or not native:
            assert_same_bits(mine["params"], other["params"], "parameter")
            assert_same_bits(mine["state"].values(), other["state"].values(), "state")
        else:
            torch.testing.assert_close(mine["params"], other["params"], rtol=1e-6, atol=1e-7)
        assert mine["left"] == ([] if native and NATIVE else ["DTensor", "DTensor"])


@pytest.mark.parametrize("layout", ["shards", "a rank with nothing", "replicated gradient"])
def test_an_update_raises_the_version_of_the_dtensor_alone(ranks: Ranks, layout: str) -> None:
    for maker in ("fastlr", "torch"):
        raised = ranks.run(versions, layout=layout, rule="SGD without momentum", maker=maker)
        assert raised == [[1, 0], [1, 0]], maker


def test_a_stale_backward_raises(ranks: Ranks) -> None:
    problems = ranks.run(stale_backward, layout="shards", rule="SGD", maker="fastlr")
    assert all("modified by an inplace operation" in problem for problem in problems)


def test_every_rank_counts_an_update_that_only_one_has_gradients_for(ranks: Ranks) -> None:
    """With the rate 0 and gradients of 0, as on the first rank, torch.distributed.checkpoint initialises the state."""
    assert ranks.run(first_update_at_rate_0) == [[1, 2], [1, 2]]
