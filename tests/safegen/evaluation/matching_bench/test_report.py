"""The page shows what the figures say, failures first, and trusts no title."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest

from safegen.evaluation.matching_bench.composed import COMPOSED
from safegen.evaluation.matching_bench.engines import ENGINES
from safegen.evaluation.matching_bench.music import Track
from safegen.evaluation.matching_bench.promises import BIG
from safegen.evaluation.matching_bench.report import html
from safegen.evaluation.matching_bench.scale import SCALE
from safegen.evaluation.matching_bench.segments import Segment, pack
from safegen.evaluation.matching_bench.summary import Figures, summarize
from safegen.evaluation.matching_bench.trials import RECALL, STRANGERS, Named
from safegen.evaluation.matching_bench.trials import pack as pack_named
from safegen.evaluation.state import Row

HOSTILE = "<script>alert('x')</script>/\"><img src=x onerror=alert(1)>.ogg"
TRACKS = [
    Track(name=HOSTILE, path=Path("a.ogg"), work_id="id-a", seconds=60.0),
    Track(name="b.ogg", path=Path("b.ogg"), work_id="id-b", seconds=60.0),
]


def excerpt(distortion: str, *, found: bool, track: int = 0, seconds: float = 10.0) -> Row:
    return {
        "trial": f"{distortion} {track} {seconds}",
        "what": RECALL,
        "track": TRACKS[track].name,
        "distortion": distortion,
        "seconds": seconds,
        "start": 1.0,
        "plain": int(found),
        "plain_off": 0.01 if found else None,
        "plain_others": "id-b" if track == 0 else "",
        "plain_ms": 3.0,
        "plain_refused": "",
        **{f"alone_{name}": int(found) for name in ENGINES},
    }


def named(*, start: float, is_shared: bool = False, p_value: float = 1e-6) -> Named:
    return Named(
        work_id="id-b",
        start=start,
        engine="landmarks",
        p_value=p_value,
        score=0.6,
        seconds=8,
        alike=8 if is_shared else 1,
        is_shared=is_shared,
    )


def strangers(*, false: int, works: int = 2) -> Row:
    return {
        "trial": f"strangers {works}",
        "what": STRANGERS,
        "works": works,
        "track": HOSTILE,
        "n": 10,
        "named": pack_named([named(start=float(n)) for n in range(false)]),
        "chances": pack_named([]),
        "search": 0,
    }


def composed(*, off: float) -> Row:
    asked = Segment(
        query="query0000",
        reference="id-a",
        query_begin=10.0,
        query_end=20.0,
        reference_begin=5.0,
        reference_end=15.0,
        treatment="clean",
    )
    found = replace(asked, query_begin=10.0 - off, query_end=20.0 + off, treatment="")
    return {
        "trial": "query0000",
        "what": COMPOSED,
        "seconds": 60.0,
        "ms": 1.0,
        "annotated": pack([asked]),
        "matched": pack([found]),
    }


def big(works: int, *, milliseconds: float) -> Row:
    return {
        "trial": f"{works}",
        "what": SCALE,
        "works": works,
        "half": 0,
        "queries": 40,
        "known": 30,
        "found": 29,
        "added": 5,
        "added_found": 5,
        "add_s": 0.1,
        **{f"{name}_p{q}_ms": milliseconds for name in (*ENGINES, "both") for q in (50, 95, 99)},
        **{f"{name}_alone_p95_ms": milliseconds / 2 for name in (*ENGINES, "both")},
        **{f"{name}_hear_ms": 5.0 for name in ENGINES},
        **{f"{name}_{what}": 0.5 for name in ENGINES for what in ("build_s", "open_s")},
        **{f"{name}_bytes": 17_000.0 for name in ENGINES},
    }


def figures(*rows: Row) -> Figures:
    return summarize(rows, TRACKS, backend="numpy", engines=ENGINES, unmeasured=["nobody listened"])


def test_nothing_a_track_is_called_becomes_markup() -> None:
    page = html(figures(excerpt("clean", found=False), strangers(false=1), composed(off=0.0)))

    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert page.count("onerror") == page.count("onerror=alert(1)&gt;")


def test_the_page_loads_nothing_and_plots_are_inside() -> None:
    page = html(
        figures(
            *(excerpt("clean", found=True, track=track) for track in (0, 1)),
            *(excerpt("clean", found=True, track=track, seconds=5.0) for track in (0, 1)),
            big(1_000, milliseconds=2.0),
            big(10_000, milliseconds=4.0),
        )
    )

    plots = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(plots) == 3
    assert all(b"<svg" in base64.b64decode(plot) for plot in plots)
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_failures_come_before_promises_and_are_counted() -> None:
    found = figures(
        excerpt("clean", found=True),
        excerpt("highpass-500", found=False),
        excerpt("pitch-2", found=False),
        strangers(false=2),
        composed(off=0.8),
    )
    page = html(found)

    assert found.failed == (
        "highpass-500, 10 s: found 0.000, asked 0.99",
        "2 works: 2 false matches in 10 queries of music outside the catalog, asked 0",
        "segment boundaries: 0.80 s off (median), asked 0.5 s",
    )
    assert page.index("highpass-500, 10 s") < page.index("What was promised")
    assert "<b>1 of 2</b>" in page
    assert "<b>3</b><span>failures" in page
    assert re.search(r'class="no">pitch-2</span>: found 0 %', page)
    assert "at 1.0 s: b.ogg (landmarks, p 1e-06" in page


def test_a_promise_of_the_deep_scan_is_not_reached_by_not_measuring_it() -> None:
    found = figures(excerpt("pitch+1", found=True))

    assert found.failed == ()
    assert "<b>0 of 1</b><span>promised rows reached, 1 not measured" in html(found)
    deep: Row = {**excerpt("pitch+1", found=True), "deep": 0}
    assert figures(deep).failed == ("pitch+1, 10 s, deep scan: found 0.000, asked 0.9",)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({}, None),
        ({"chromaprint_p95_ms": 10.5}, "100000 works: Chromaprint search, p95 10.5 ms, asked 10"),
        ({"both_p95_ms": 61.0}, "100000 works: search with both engines, p95 61 ms, asked 60"),
        (
            {"chromaprint_bytes": 21e3},
            "100000 works: Chromaprint 21000 bytes a work, asked 20000",
        ),
        ({"landmarks_open_s": 0.6}, "100000 works: opening 1.1 s, asked 1"),
        ({"add_s": 1.5}, "100000 works: a new work is found after 1.5 s, asked 1"),
        ({"added_found": 4.0}, "100000 works: 4 of 5 new works found, asked all"),
    ],
)
def test_a_catalog_of_the_asked_size_is_held_to_what_was_asked(
    facts: dict[str, float], sentence: str | None
) -> None:
    found = figures({**big(BIG, milliseconds=3.0), "landmarks_open_s": 0.4, **facts})
    small = figures({**big(1_000, milliseconds=300.0), **facts})

    assert found.failed == ((sentence,) if sentence else ())
    assert small.failed == ()
    assert f"time, memory and strangers at {BIG} works: run with --scale {BIG}" in small.unmeasured


def test_a_run_that_was_too_small_says_so() -> None:
    found = figures(excerpt("clean", found=True), strangers(false=0))

    assert "only 2 works were measured, asked 130" in found.unmeasured
    assert "only 10 queries of music outside a catalog of 2 works, asked 5000" in found.unmeasured
    assert "nobody listened" in html(found)
