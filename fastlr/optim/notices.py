"""What an optimizer tells its user once, when a step meets it."""

from __future__ import annotations

from fastlr import _core
from fastlr._warn import warn

_TEXTS: dict[int, str] = {
    _core.NOTICE_OVERRIDDEN: (
        "A hyper-parameter that follows a schedule was written from outside, in optimizer.param_groups. The written "
        "value is used, and the schedule waits until its own value is back. To change the schedule use "
        "optimizer.set_schedule() or the group's lr_scale; a caller that insists on a scheduler takes "
        "fastlr.LRScheduler(optimizer), which only follows."
    ),
    _core.NOTICE_ENDED_AT_ZERO: (
        "The learning-rate schedule is over and its last value is 0: this update and those after it change nothing. "
        "Make the schedule as long as the training, or append a piece with `>>`."
    ),
    _core.NOTICE_RECORDED_CONSTANT: (
        "A CUDA graph has recorded an update whose learning rate follows no schedule: what is written into "
        "optimizer.param_groups reaches replays only through the next step() or sync(). Pass a schedule as lr, "
        "which replays follow by themselves."
    ),
    _core.NOTICE_LEFT_TO_TORCH: (
        "fastlr's CUDA core is not used: {problem}. torch's operators update the parameters on this GPU."
    ),
    _core.NOTICE_LACKS_STATE: (
        "A CUDA graph has recorded an update without some state or option that its group asks for now, such as "
        "momentum, amsgrad or max_grad_norm: replays go on without it. Capture step() again."
    ),
}


def notify(notices: int, told: set[int], plan: _core.Step) -> None:
    """Warn of each notice that has not been told yet."""
    for notice, text in _TEXTS.items():
        if notices & notice and notice not in told:
            told.add(notice)
            warn(text.format(problem=plan.cuda_problem()))


def warn_replaced(lines: list[str]) -> None:
    """Warn that a checkpoint's schedules replace the optimizer's own."""
    warn(
        "The checkpoint has another schedule than this optimizer was constructed with, and replaces it: "
        f"{'; '.join(lines)}. To keep the new one: load_state_dict(..., keep_schedule=True)."
    )
