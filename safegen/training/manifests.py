"""Which pieces did the model learn from?

The training set is a range of seeds. An item is composed from its seed, rendered with
the training soundfont and cut to ``ITEM_SECONDS``; nothing else enters training.
"""

from __future__ import annotations

from typing import Final

TRAINING_SEEDS: Final = range(1_000_000, 1_005_000)
ITEM_SECONDS: Final = 10.0
PLAN_SEEDS: Final = range(1_000_000, 1_040_000)
