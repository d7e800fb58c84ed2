from pathlib import Path

import pytest
import torch

from safegen.errors import InputError, IntegrityError
from safegen.evaluation import instrument
from safegen.evaluation.instrument_fit import Views, fit, ship
from safegen.generation.codec import MELS
from safegen.generation.compose import compose
from safegen.generation.procedural import render

BRIGHT, DARK = instrument.NAMES.index("flute"), instrument.NAMES.index("cello")


def two_kinds(n: int) -> Views:
    """Frames in which one instrument is loud above and the other below."""
    dice = torch.Generator().manual_seed(5)
    frames = torch.randn(n, 210, MELS, generator=dice) * 0.3 - 1.0
    which = torch.arange(n) % 2
    frames[which == 0, :, MELS // 2 :] += 1.5
    frames[which == 1, :, : MELS // 2] += 1.5
    return Views(frames=frames.half(), instruments=torch.tensor([BRIGHT, DARK])[which])


def test_the_recipe_learns_to_tell_two_instruments_apart() -> None:
    seen = two_kinds(8)
    ear = fit(seen, steps=6)

    assert ear(seen.frames.float()).argmax(dim=1).tolist() == seen.instruments.tolist()


def test_the_recipe_gives_the_same_bits_again_and_leaves_the_global_dice_alone(
    tmp_path: Path,
) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    sums = {ship(fit(two_kinds(4), steps=2), tmp_path / f"{i}.safetensors") for i in range(2)}

    assert len(sums) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_the_shipped_meter_is_small_and_names_an_instrument() -> None:
    audio = render(compose(3), seconds=4.0)

    assert instrument.WEIGHTS.stat().st_size <= 300_000
    assert instrument.heard(audio) in instrument.NAMES
    assert instrument.heard(audio) == instrument.heard(audio)


def test_a_changed_weight_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "instrument.safetensors"
    changed.write_bytes(instrument.WEIGHTS.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(instrument, "WEIGHTS", changed)
    instrument.load.cache_clear()
    try:
        with pytest.raises(IntegrityError, match="not the instrument meter"):
            instrument.load()
    finally:
        instrument.load.cache_clear()


def test_the_recipe_wants_both_soundfonts_and_writes_over_nothing(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from safegen.evaluation.instrument_fit import command

    there = tmp_path / "there"
    there.write_text("mine")
    for out, message in ((there, "is there already"), (tmp_path / "new", "both soundfonts")):
        result = CliRunner().invoke(command, ["--assets", str(tmp_path), "--out", str(out)])
        assert isinstance(result.exception, InputError)
        assert message in str(result.exception)

    assert there.read_text() == "mine"
