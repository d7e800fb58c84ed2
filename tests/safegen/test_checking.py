"""What a check says that could not run."""

import pytest

from detectors.errors import DetectorError
from safegen.checking import run_check
from safegen.policy import CheckResult, Outcome


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (DetectorError("2.00 s of sound are too short"), "2.00 s of sound are too short"),
        (DetectorError(), "DetectorError: "),
        (ValueError("no such row\nand more"), "ValueError: no such row"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 288),
    ],
)
def test_a_detector_speaks_for_itself_and_an_accident_is_named(
    error: Exception, detail: str
) -> None:
    def check() -> CheckResult:
        raise error

    result = run_check("catalog", check)

    assert (result.outcome, result.detail) == (Outcome.ERROR, detail)
