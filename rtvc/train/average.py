"""The average of checkpoints of one network: often better than any of them, where they come from one another.

Source: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time" (2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import TrainingError
from .loop import read_checkpoint, write_checkpoint


def average(out: Path, files: Sequence[Path], shares: Sequence[float] | None = None) -> None:
    """Write the average of checkpoints by their shares, else by equal ones; seed, steps and means are the last one's.

    Raises TrainingError if they are of different networks or the shares do not sum to 1.
    """
    shares = shares or [1.0 / len(files)] * len(files)
    if len(shares) != len(files) or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise TrainingError(f"{len(shares)} shares that sum to {sum(shares):g} for {len(files)} files; they sum to 1")
    found = [read_checkpoint(path) for path in files]
    models = [state["model"] for state in found]
    for path, model in zip(files, models, strict=True):
        if {k: v.shape for k, v in model.items()} != {k: v.shape for k, v in models[0].items()}:
            raise TrainingError(f"{path}: is of another network than {files[0]}")
    mean = {
        name: sum(share * model[name].double() for share, model in zip(shares, models, strict=True)).to(first.dtype)
        for name, first in models[0].items()
    }
    last = found[-1]
    history: dict[str, Any] = {name: last[name] for name in ("seed", "step", "seconds", "means") if name in last}
    write_checkpoint(out, {"model": mean, **history})
