"""How does a check run so that nothing it does is an accident?

Whatever happens inside a check, an exception, an endless loop, becomes an outcome, and
the policy says what follows. In ``strict`` a check that could not run has not passed.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from detectors.errors import DetectorError
from safegen.policy import CheckResult, Outcome

CHECK_SECONDS: Final = 60.0
"""A check that has not answered by then counts as ``timeout``."""
VARIANT_SECONDS: Final = 0.06
"""What each further version of a sound that a deep scan searches for may take of them, for
each second of sound: ten times what it takes on one free core with a small catalog."""

SEARCH_SECONDS: Final = 300.0
"""What a deep scan may take longer to compare the notes of all works; three times what 100,000
works of 3 minutes take on one free core."""

_DETAIL_CHARACTERS: Final = 300

log = logging.getLogger(__name__)


def run_check(
    name: str, check: Callable[[], CheckResult], *, limit_seconds: float = CHECK_SECONDS
) -> CheckResult:
    """Run one check; it answers, fails to, or is late.

    A late check's thread is left behind (Python cannot end it); it holds no lock of the
    gate and dies with the process.

    Args:
        name: Of the check, for the outcomes that it did not give itself.
        check: Gives the result.
        limit_seconds: How long to wait.
    """
    answers: list[CheckResult] = []

    def run() -> None:
        try:
            answers.append(check())
        except Exception as error:
            log.info("check %s failed", name, exc_info=True)
            # A detector's own words are for people; of what it did not foresee the kind helps.
            kind = "" if isinstance(error, DetectorError) and str(error) else type(error).__name__
            text = (f"{kind}: {error}" if kind else str(error)).splitlines()[0]
            text = text[:_DETAIL_CHARACTERS]
            answers.append(CheckResult(name=name, outcome=Outcome.ERROR, detail=text))

    worker = threading.Thread(target=run, name=f"check-{name}", daemon=True)
    worker.start()
    worker.join(limit_seconds)
    if answers:
        return answers[0]
    return CheckResult(
        name=name, outcome=Outcome.TIMEOUT, detail=f"no answer within {limit_seconds:g} s"
    )
