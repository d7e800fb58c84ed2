"""Sound that was made elsewhere, through the gate: arrays, tensors, one or a batch."""

from pathlib import Path

import torch

from safegen import Gate
from safegen.errors import ReleaseBlockedError

dice = torch.Generator().manual_seed(1)
batch = torch.randn(2, 1, 32_000 * 6, generator=dice).half() * 0.1  # as a model hands it out

with Gate.open(policy_name="strict") as gate:
    try:
        one = gate.release(batch[0], 32_000, generator="MyModel 2.1", out=Path("released"))
        print(one.finished and one.finished.path)
    except ReleaseBlockedError as refusal:
        print(refusal.rule, refusal.problem)  # logged first, then raised

    for each in gate.release_batch(batch, 32_000, generator="MyModel 2.1", out=Path("released")):
        print(each.judgement.decision.action, each.finished and each.finished.path)
