"""Clips come in a fixed order and mixture, and any of them can be made alone."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from safegen.cli import main
from safegen.errors import InputError
from safegen.evaluation.watermarking.clips import ClipSpec, load_clip, others, plan


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as `safegen eval assets` leaves them, with as little in them as will do."""
    tmp_path = tmp_path_factory.mktemp("assets")
    random = np.random.default_rng(1)
    for language in ("en", "es", "fr", "it"):
        folder = tmp_path / f"asterisk-core-sounds-{language}-g722" / "usr"
        folder.mkdir(parents=True)
        for number in range(12):
            (folder / f"prompt-{number:02}.g722").write_bytes(random.bytes(20_000))
    for package in ("wesnoth-1.16-music", "asc-music"):
        (tmp_path / package).mkdir()
        for number in range(2):
            path = tmp_path / package / f"track{number}.ogg"
            sound = 0.2 * random.standard_normal((44_100 * 25, 2))
            soundfile.write(path, sound, 44_100, compression_level=0.0)
    (tmp_path / "sonic-pi-samples").mkdir()
    for name in ("loop_a", "loop_b", "perc_a"):
        sound = 0.2 * random.standard_normal(22_050)
        soundfile.write(tmp_path / "sonic-pi-samples" / f"{name}.flac", sound, 44_100)
    return tmp_path


def test_a_plan_mixes_kinds_and_sources_and_a_short_one_is_the_beginning(assets: Path) -> None:
    long, short = plan(assets, 10), plan(assets, 5)

    assert short == long[:5]
    assert [spec.kind for spec in short] == ["speech", "music", "speech", "music", "effects"]
    assert len({spec.source for spec in long}) >= 7
    assert len({(spec.kind, spec.name) for spec in long}) == 10


def test_every_planned_clip_is_ten_seconds_of_sound(assets: Path) -> None:
    for spec in plan(assets, 10):
        clip = load_clip(spec)

        assert clip.seconds == pytest.approx(10.0, abs=0.001), spec.name
        assert 0.001 < float(np.abs(clip.waveform).max()) <= 1.5, spec.name


@pytest.mark.parametrize("source", ["rain", "wind", "engine", "surf", "scores"])
def test_a_synthesized_clip_is_the_same_every_time_and_another_for_each_seed(source: str) -> None:
    one, other = (
        ClipSpec(name=source, kind="effects", source=source, files=(), number=seed)
        for seed in (1, 2)
    )

    first = load_clip(one)
    load_clip.cache_clear()

    assert np.array_equal(first.waveform, load_clip(one).waveform)
    assert not np.array_equal(first.waveform, load_clip(other).waveform)
    assert first.seconds == 10.0


def test_too_many_clips_are_refused(assets: Path) -> None:
    with pytest.raises(InputError, match="not enough for 2000 clips"):
        plan(assets, 2000)


def test_companions_are_the_next_of_a_kind_and_never_the_clip(assets: Path) -> None:
    specs = plan(assets, 10)

    found = others(specs, 8, "speech", 99)

    assert specs[8] not in others(specs, 8, specs[8].kind, 99)
    assert [spec.name for spec in found] == [
        spec.name for spec in (*specs[9:], *specs[:8]) if spec.kind == "speech"
    ]


def test_a_folder_without_audio_says_how_to_fetch_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["eval", "watermark", "--assets", str(tmp_path)])

    assert result.exit_code == 2
    assert "safegen eval assets" in result.stderr
