"""Figures name every missed promise, and the page shows them to whoever only looks."""

import re
from typing import Any

import pytest

from safegen.evaluation.attacks import ATTACKS, Attack, Kind
from safegen.evaluation.watermarking.report import html
from safegen.evaluation.watermarking.staged import STAGED, Staged
from safegen.evaluation.watermarking.summary import Figures, summarize
from safegen.evaluation.watermarking.trials import Row


def trial(what: str, number: int, **changed: Any) -> Row:
    """One clip on which all went well, but for what is changed."""
    row: Row = {
        "trial": f"{what} {number}",
        "marker": "keyed",
        "what": what,
        "clip": f"clip {number}",
        "kind": "speech",
        "source": "speech en",
        "detected": 1,
        "exact": 1,
        "wrong": 0,
        "false": 0,
    }
    return row | changed


def price(number: int, **changed: Any) -> Row:
    row: Row = {
        "trial": f"price {number}",
        "marker": "keyed",
        "what": "price",
        "clip": f"clip {number}",
        "kind": "speech",
        "source": "speech en",
        "pesq": 4.5,
        "snr_db": 20.0,
        "embed": 0.001,
        "plain": 0.002,
        "search": 0.03,
    }
    return row | changed


def figures(rows: list[Row], *more: Attack | Staged) -> Figures:
    attacks: list[Attack | Staged] = [*ATTACKS.values(), *STAGED.values(), *more]
    return summarize(rows, attacks, strength=0.2, unmeasured=["moonlight"])


GOOD = [trial("clean", number) for number in range(20)] + [price(1)]


def test_a_report_of_reached_promises_names_no_failure() -> None:
    found = figures(GOOD)

    assert found.failed == ()
    assert found.clips == {"speech": 20, "music": 0, "effects": 0}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([trial("mp3-64k", 1, detected=0)], "mp3-64k: heard 0.000, asked 0.98"),
        ([trial("crop-5s", 1, exact=0)], "crop-5s: exact id 0.000, asked 0.8"),
        ([trial("noise-40db", 1, false=1)], "1 false alarms in 1 unmarked clips"),
        ([trial("noise-40db", 1, wrong=1)], "noise-40db: 1 wrong ids"),
        ([price(2, pesq=1.2)], "PESQ 2.850, asked 4.1"),
        ([trial("splice-4s", 1, iou=0.5)], "localization: overlap 0.500, asked 0.85"),
        ([price(2, search=9.0)], "search detection: 4.5150"),
        ([price(2, plain=9.0)], "plain detection: 4.5010"),
    ],
    ids=[
        *("a lost mark", "a lost id", "a false alarm", "a wrong id"),
        *("a loud mark", "a blurred place", "a slow search", "slow listening"),
    ],
)
def test_a_broken_promise_is_named(rows: list[Row], words: str) -> None:
    failed = figures(GOOD + rows).failed

    assert len(failed) == 1
    assert words in failed[0]
    assert words in html(figures(GOOD + rows))


def test_a_lost_mark_in_a_row_without_a_promise_fails_nothing() -> None:
    assert figures([*GOOD, trial("mel-80", 1, detected=0, exact=0)]).failed == ()


def test_exactly_the_promise_is_reached_and_one_clip_less_is_not() -> None:
    reached = [trial("opus-16k", n, detected=int(n < 9)) for n in range(10)]
    missed = [trial("opus-16k", n, detected=int(n < 8)) for n in range(10)]

    assert figures(GOOD + reached).failed == ()
    assert figures(GOOD + missed).failed == ("opus-16k: heard 0.800, asked 0.9",)


def test_a_rival_that_does_better_is_named_on_the_clips_both_heard() -> None:
    ours = [trial("mel-80", n, detected=0) for n in range(4)]
    theirs = [trial("mel-80", n, marker="perth", exact=0) for n in range(2)]

    page = html(figures(GOOD + ours + theirs))

    line = next(
        each for each in figures(GOOD + ours + theirs).lines if each.misses == () and each.behind
    )
    assert line.behind == ("perth",)
    assert line.marks["perth"].exact is None
    assert "better than ours" in page


def test_a_rival_is_not_better_for_having_heard_other_clips() -> None:
    ours = [trial("mel-80", n, detected=int(n > 0)) for n in range(4)]
    theirs = [trial("mel-80", n, marker="perth") for n in range(1, 3)]

    assert all(not line.behind for line in figures(GOOD + ours + theirs).lines)


def test_hostile_names_do_nothing_in_the_page() -> None:
    script = "<script>alert(1)</script>"
    attack = Attack(
        name=script,
        kind=Kind.NOISE,
        series=script,
        strength=1.0,
        unit=script,
        description='"><img src=x onerror=alert(1)>',
        function=lambda audio: audio,
    )
    rows = [trial(script, 1, source=script, clip=script, false=1)]

    page = html(figures(GOOD + rows, attack))

    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_page_stands_alone() -> None:
    page = html(figures(GOOD))

    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    assert "default-src 'none'" in page


def test_missed_promises_come_first_and_are_marked() -> None:
    rows = [trial("mp3-64k", 1), trial("opus-32k", 1, detected=0, exact=0)]

    page = html(figures(GOOD + rows))

    promised = page[page.index("What was promised") : page.index("Nothing done")]
    assert promised.index("opus-32k") < promised.index("mp3-64k")
    assert promised.count('class="missed"') == 1


def test_what_was_not_measured_is_said() -> None:
    page = html(figures(GOOD))

    assert "moonlight" in page
    assert figures(GOOD).as_json()["not_measured"] == ["moonlight"]


def test_one_miss_is_never_rounded_to_all() -> None:
    rows = [trial("noise-40db", n, detected=int(n > 0)) for n in range(5000)]

    page = html(figures(GOOD + rows))

    assert "99.9 %" in page


def test_no_trials_give_a_page_and_no_failure() -> None:
    empty = figures([])

    assert empty.failed == ()
    assert "not measured" not in str(empty.failed)
    assert "Watermark report" in html(empty)


def test_a_lost_mark_is_shown_even_where_nothing_was_promised() -> None:
    rows = [trial("mel-80", 1, detected=0, exact=0), trial("mel-160", 1)]

    page = html(figures(GOOD + rows))

    first = page[: page.index("What was promised")]
    assert "mel-80" in first
    assert "mel-160" not in first


def test_a_forgery_is_called_one() -> None:
    page = html(figures([*GOOD, trial("copy-residual", 1)]))

    assert "heard = forged" in page


def test_the_same_figures_give_the_same_bytes() -> None:
    assert html(figures(GOOD)) == html(figures(GOOD))
