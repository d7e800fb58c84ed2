"""Every error safegen raises on purpose, in one tree.

    SafegenError                 1   something failed; nothing was released
    ├── InputError               2   the caller can fix it: path, format, option
    ├── ReleaseBlockedError      3   all checks ran and the answer is no
    └── IntegrityError           4   a signature, hash or log proof does not hold

The number is the exit code of the command line (``safegen/cli``). It is part of
the public interface: scripts branch on 3 (no) as against 1 (could not tell).
"""

from typing import ClassVar


class SafegenError(Exception):
    """Base of all deliberate failures.

    Args:
        problem: What is wrong, with the offending value in it.
        remedy: What the reader can do next, as a full sentence. Optional, but
            leave it out only when there is truly nothing to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class InputError(SafegenError):
    """The caller named something that cannot be used: a path, a format, an option."""

    exit_code = 2


class ReleaseBlockedError(SafegenError):
    """The gate ran its checks, logged the refusal, and refused.

    Args:
        rule: Id of the rule that refused, as printed in POLICY.md ("R4").
        problem: The measured value and the limit, in that order.
        record_id: The provenance record in which the refusal was logged.
    """

    exit_code = 3

    def __init__(self, rule: str, problem: str, *, record_id: str) -> None:
        super().__init__(
            f"blocked by {rule}: {problem}",
            remedy=f"Run `safegen audit record {record_id}` for the full evidence.",
        )
        self.rule = rule
        self.record_id = record_id


class IntegrityError(SafegenError):
    """A promise about evidence does not hold: signature, hash, proof or record."""

    exit_code = 4
