"""The page has a part for everything that was measured, and none for what was not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safegen.evaluation.codec_quality import Row as CodecRow
from safegen.evaluation.generation_bench import report
from safegen.evaluation.generation_bench.adherence import ATTRIBUTES, counted
from safegen.evaluation.generation_bench.bench import Row
from safegen.evaluation.generation_bench.frechet import Distance
from safegen.evaluation.generation_bench.speed import Cost
from safegen.evaluation.generation_bench.tasks import Ceiling
from safegen.generation.cards import card

COST = Cost(
    device="cpu",
    items=5,
    seconds=50.0,
    cpu_seconds=10.0,
    wall_seconds=11.0,
    load_seconds=1.0,
    first_chunk_seconds=2.0,
    peak_mib=700.0,
    gpu_peak_mib=None,
)
RATE = counted(np.eye(12, dtype=bool), chance=1 / 24)
MUSIC = tuple(ATTRIBUTES)
SOUNDS = ("surest", "all")


def row(name: str, task: str, attributes: tuple[str, ...]) -> Row:
    return Row(
        card=replace(card("procedural"), name=name),
        task=task,
        attributes=attributes,
        items=12,
        rates=dict.fromkeys(attributes, RATE),
        planned=dict.fromkeys(attributes, RATE) if task == "music" else {},
        distance=None if task == "sounds" else Distance(value=3.5, sounds=12, embeddings=36),
        cost=COST,
        item_cpu_seconds=0.2,
    )


def ceilings(task: str, attributes: tuple[str, ...]) -> list[Ceiling]:
    rates = dict.fromkeys(attributes, RATE)
    return [
        Ceiling(task=task, source="scores", coded=coded, rates=rates) for coded in (False, True)
    ]


EVERYTHING = report.Found(
    rows=[
        row("plays", "music", MUSIC),
        row("goes-on", "continuation", MUSIC),
        row("rumbles", "sounds", SOUNDS),
    ],
    ceilings=[
        *ceilings("music", MUSIC),
        *ceilings("continuation", MUSIC),
        *ceilings("sounds", SOUNDS),
    ],
    distances={"other scores": Distance(value=0.4, sounds=12, embeddings=36)},
    seconds=10.0,
    prompts=12,
    command="safegen eval generation",
    codec=[
        CodecRow(
            kind="music",
            coding="4 codebooks",
            clips=2,
            bitrate=1000.0,
            visqol=4.31,
            visqol_least=4.1,
            log_mel=0.2,
        )
    ],
)


def test_every_model_and_every_part_is_on_the_page(tmp_path: Path) -> None:
    report.write(EVERYTHING, tmp_path / "page.md")
    words = (tmp_path / "page.md").read_text()

    for heading in (
        "asked for?",
        "Ceilings",
        "Sound effects",
        "renders",
        "codec",
        "cost",
        "Weights",
    ):
        assert any(heading in line for line in words.splitlines() if line.startswith("#")), heading
    assert "| plays | **100 %** (76–100, n 12) |" in words
    assert "| rumbles | **100 %** (76–100, n 12) |" in words
    assert "| music | 4 codebooks | 1.00 | 4.31 | 4.10 | 0.200 | 2 |" in words
    assert "| goes-on | 0.200 | 2.0 s | 1.0 s | 700 MiB | cpu | 5 × 10 s |" in words
    assert "≤ 0.0001" in words
    assert (tmp_path / "page-adherence.svg").stat().st_size < 100_000


def test_what_was_not_measured_has_no_part(tmp_path: Path) -> None:
    bare = replace(
        EVERYTHING,
        rows=[EVERYTHING.rows[2]],
        ceilings=EVERYTHING.ceilings[4:],
        distances={},
        codec=(),
    )
    report.write(bare, tmp_path / "page.md")
    words = (tmp_path / "page.md").read_text()

    assert "## Sound effects" in words
    for part in ("asked for?\n", "renders", "ViSQOL"):
        assert part not in words.replace("what was asked for?\n", "")
    assert not (tmp_path / "page-adherence.svg").exists()


@pytest.mark.parametrize(("number", "keys"), [(0, MUSIC), (1, MUSIC), (2, SOUNDS)])
def test_programs_get_rates_luck_and_ceilings_of_the_models_own_task(
    number: int, keys: tuple[str, ...]
) -> None:
    found = report.as_json(EVERYTHING.rows[number], EVERYTHING)

    for name in keys:
        assert found[name] == found[f"{name}_ceiling"] == found[f"{name}_coded_ceiling"] == 1.0
        assert found[f"{name}_better_than_chance"] is True
        assert found[f"{name}_n"] == 12
    assert found["real_time_factor"] == 0.2


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        report.write(EVERYTHING, tmp_path / name / "page.md")

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
