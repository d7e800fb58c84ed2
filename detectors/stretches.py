"""Which stretches of a row of gains and losses are worth the most?"""

import numpy as np
import numpy.typing as npt


def stretches(gain: npt.NDArray[np.float64], *, least: float) -> list[tuple[int, int]]:
    """Find the maximal stretches of positive total, longest possible, none inside another.

    Args:
        gain: Shape (n,), what each step adds.
        least: Smallest total of a stretch.

    Returns:
        First step and the one after the last of each, in order.

    Source: Ruzzo and Tompa, ISMB 1999, all maximal scoring subsequences.
    """
    sign = np.flatnonzero(np.diff(gain > 0)) + 1
    starts = np.concatenate(([0], sign))
    ends = np.concatenate((sign, [len(gain)]))
    totals = np.concatenate(([0.0], np.cumsum(gain)))
    stack: list[tuple[int, int, float, float]] = []  # first, end, total before, total after
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        first, before, total = start, float(totals[start]), float(totals[end])
        if total <= before:
            continue
        while True:
            left = len(stack) - 1
            while left >= 0 and stack[left][2] >= before:
                left -= 1
            if left < 0 or stack[left][3] >= total:
                stack.append((first, end, before, total))
                break
            first, _, before, _ = stack[left]
            del stack[left:]
    return [(first, end) for first, end, before, total in stack if total - before >= least]
