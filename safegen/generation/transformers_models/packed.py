"""How is a weight multiplied with a few rows, fast, and each row the same in any company?

A decoder that makes one column at a time multiplies its weights with as many rows as there
are sequences: two for one clip. The usual kernels then read the weights several times, or
on one core. oneDNN's, on weights that it has laid out itself, reads them once on all cores,
and sums a row in one order whatever stands beside it, for 2 to ``_MOST_ROWS`` rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Product = Callable[[Tensor], Tensor]

_FEWEST_ROWS: Final = 2
"""A single row takes another path, with other sums."""
_MOST_ROWS: Final = 8


def product(weight: Tensor) -> Product:
    """Make a function of rows, shape (rows, in), that gives (rows, out).

    Args:
        weight: Shape (out, in); where it is laid out anew it is needed no longer.
    """
    if not _can_be_packed(weight):
        return lambda rows: F.linear(rows, weight)
    library: Any = torch.ops.mkldnn
    laid_out = library._reorder_linear_weight(weight.contiguous(), _FEWEST_ROWS)

    def multiply(rows: Tensor) -> Tensor:
        return torch.cat([few(part) for part in torch.split(rows, _MOST_ROWS)])

    def few(rows: Tensor) -> Tensor:
        many = rows.repeat(_FEWEST_ROWS, 1) if len(rows) < _FEWEST_ROWS else rows.contiguous()
        found: Tensor = library._linear_pointwise(many, laid_out, None, "none", [], "")
        return found[: len(rows)]

    return lambda rows: few(rows) if len(rows) <= _MOST_ROWS else multiply(rows)


def _can_be_packed(weight: Tensor) -> bool:
    """Tell whether oneDNN is there and takes numbers of this kind."""
    library: Any = torch.backends.mkldnn
    if weight.device.type != "cpu" or not library.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
