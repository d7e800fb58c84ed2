import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation import synthetic
from safegen.evaluation.metrics import wilson
from safegen.evaluation.synthetic_bench.known import Cell
from safegen.evaluation.synthetic_bench.promises import Found, promises
from safegen.evaluation.synthetic_bench.report import html
from safegen.training.items import Item, write
from tests.safegen.evaluation.synthetic_bench.rosters import roster


def _item(generator: str, number: int) -> Item:
    def make() -> Audio:
        dice = np.random.default_rng(number + 1000 * bool(generator))
        samples = np.cumsum(dice.standard_normal(64_000))
        samples = np.diff(samples, prepend=0.0) if generator else samples - samples.mean()
        samples = samples / np.abs(samples).max() * 0.5
        return Audio(waveform=samples[None].astype(np.float32), sample_rate=16_000)

    return Item(
        file=f"held/{generator or 'real'}/speaker-{number:03d}.flac",
        generator=generator,
        family="vocoder" if generator else "",
        source="speaker",
        role="held",
        license="CC0-1.0",
        seconds=4.0,
        history="g722 vorbis",
        make=make,
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    items = [_item(generator, n) for generator in ("", "first") for n in range(6)]
    write(folder, items, note=lambda _: None)
    return folder


@pytest.fixture(autouse=True)
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two generators made of numbers, in place of what ships."""
    two = roster(("first", "third"))
    monkeypatch.setattr(synthetic, "_shipped", lambda: two)


def _run(*args: str) -> Result:
    return CliRunner().invoke(synthetic.command, list(args), catch_exceptions=False)


def test_the_benchmark_prints_one_object_and_a_page(corpus: Path, tmp_path: Path) -> None:
    page = tmp_path / "synthetic.html"
    wanted = [f"--only={part}" for part in ("known", "unknown", "splices", "cost", "music")]

    result = _run(
        *("--corpus", str(corpus), "--work", str(tmp_path / "work"), *wanted),
        *("--treatments", "clean", "--clips", "6", "--real", "6", "--inserts", "1"),
        *("--report", str(page)),
    )

    (line,) = result.stdout.splitlines()
    row: dict[str, Any] = json.loads(line)
    assert result.exit_code == (3 if row["failed"] else 0)
    (cell,) = [c for c in row["known_speech"]["generators"] if c["seconds"] == 4.0]
    assert cell["generator"] == "first"
    assert cell["called_synthetic"]["n"] == 6
    assert [r["left_out"] for r in row["unknown_speech"]["rows"]] == ["generator"]
    assert {r["insert_seconds"] for r in row["splices"]["rows"]} == {1.0, 2.0, 3.0, 4.0}
    assert row["cost_speech"]["whole"] > 0.0
    assert row["not_measured"]["music"] == "it needs --assets"
    assert row["not_measured"]["known, music"] == "the corpus has no held-out music"
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert text.count("data:image/svg+xml;base64,") == 5
    assert "<b>first</b>" in text


def test_nothing_to_judge_is_wrong_use() -> None:
    with pytest.raises(InputError, match="nothing to judge"):
        _run()


def test_an_unknown_treatment_is_refused_before_anything_is_heard(corpus: Path) -> None:
    with pytest.raises(InputError, match="mp3-63k"):
        _run("--corpus", str(corpus), "--treatments", "mp3-63k")


def test_a_report_that_is_no_page_is_refused(corpus: Path) -> None:
    with pytest.raises(InputError, match="reports are"):
        _run("--corpus", str(corpus), "--report", "figures.txt")


def _cell(generator: str, eer: float) -> Cell:
    return Cell(
        kind="speech",
        generator=generator,
        family="vocoder",
        treatment="clean",
        seconds=4.0,
        eer=eer,
        found=wilson(9, 10),
        named=wilson(9, 10),
        falsely_named=wilson(0, 10),
        synthetic=np.arange(10.0),
        real=-np.arange(10.0),
    )


def test_a_promise_is_held_by_the_worst_generator() -> None:
    found = promises(Found(cells=[_cell("good", 0.01), _cell("bad", 0.2)]))

    clean = next(p for p in found if "clean" in p.name)
    assert clean.is_missed
    assert "bad" in clean.detail
    assert "1 of 2" in clean.detail


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    found = promises(Found())

    assert not any(p.is_reached or p.is_missed for p in found)
    assert all(p.as_json()["measured"] is None for p in found)
    assert "not measured" in html(
        Found(),
        found,
        {
            "entries": {},
            "generic_models": [],
            "model_id": "m",
            "calibration_id": "c",
            "data_card_id": "d",
            "not_measured": {},
        },
    )
