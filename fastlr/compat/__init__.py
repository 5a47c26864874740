"""Other libraries' schedulers as schedules: their names, their arguments, their values.

One module a library: `torch`, `transformers`, `timm`, `optax` and `ultralytics`. None of them is imported. Where a
library takes the rate from its optimizer, it is the first argument here: ``base_lr``. What only says where to start or
whether to print (``last_epoch``, ``verbose``, ``optimizer``) is left out: ``s.shift(-t)`` starts a schedule at step t.

>>> from fastlr import compat
>>> compat.torch.StepLR(0.1, step_size=30)
Step(start=0.1, step_size=30, gamma=0.1)
"""

from fastlr.compat import optax, timm, torch, transformers, ultralytics

__all__ = ["optax", "timm", "torch", "transformers", "ultralytics"]
