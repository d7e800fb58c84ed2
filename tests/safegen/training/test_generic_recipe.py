import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from detectors.synthetic.generic import ALL_BANDS, BANDS, MAPS, parse
from safegen.audio import Audio
from safegen.cli.train import train as command
from safegen.errors import InputError
from safegen.training import generic
from safegen.training.generic import Table, disturb, judge, learnable, train, trained
from safegen.training.items import Item, write
from safegen.training.sources import Role


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def item(
    generator: str, number: int, *, role: Role = "train", license_: str = "MIT", source: str = "x"
) -> Item:
    def sound() -> Audio:
        dice = np.random.default_rng((number, len(generator)))
        noise = dice.normal(scale=0.05, size=64_000)
        tone = 0.1 * np.sin(np.arange(64_000) * (0.2 + 0.1 * number)) if generator else 0.0
        return Audio(waveform=(noise + tone).astype(np.float32)[None], sample_rate=16_000)

    return Item(
        file=f"{role}/{generator or 'real'}/{source}-{number}.flac",
        generator=generator,
        family="vocoder" if generator else "",
        source=source,
        role=role,
        license=license_,
        seconds=4.0,
        history="",
        make=sound,
    )


def table(*, real: int = 6) -> Table:
    dice = np.random.default_rng(0)
    generator = np.array([""] * real + ["world"] * 6 + ["piper"] * 6)
    drawn = dice.normal(size=(len(generator), MAPS, 140, ALL_BANDS))
    drawn[real:] = drawn[real:, :, ::4].repeat(4, axis=2)
    clip = [f"a-{n}" for n in range(real)] + [f"a-{n}" for n in range(6)] + list("uvwxyz")
    return Table(
        maps={"clean": drawn.astype(np.float16)},
        trivial=dice.normal(size=(len(generator), 8)),
        generator=generator,
        source=np.array(["s"] * len(generator)),
        clip=np.array(clip),
        license=np.array(["MIT"] * len(generator)),
    )


@pytest.mark.parametrize(
    ("clip", "may"),
    [
        (item("", 0, license_="CC-BY-SA-3.0"), True),
        (item("espeak", 0, license_="GPL-3.0-or-later"), True),
        (item("", 0, license_="GPL-2.0-only"), False),
        (item("hifigan", 0, license_="CC-BY-3.0 + AGPL-3.0-or-later"), False),
        (item("", 0, role="calibrate"), False),
    ],
    ids=["open", "output of a program", "copyleft voice", "copyleft tool", "set aside"],
)
def test_only_what_may_ship_is_learned_from(clip: Item, may: bool) -> None:
    assert learnable(clip) is may


def test_a_stopped_run_continues_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = list(train(table(), folder=tmp_path / "a", steps=4, seed=1, batch=8))
    for progress in train(table(), folder=tmp_path / "b", steps=4, seed=1, batch=8, save_every=2):
        if progress.step == 3:
            break

    continued = list(train(table(), folder=tmp_path / "b", steps=4, seed=1, batch=8))

    assert [p.step for p in continued] == [3, 4]
    assert [p.loss for p in continued] == pytest.approx([p.loss for p in whole[2:]], abs=1e-5)


def test_a_network_learns_to_tell_a_made_sound_from_a_real_one(tmp_path: Path) -> None:
    known = table()
    for _ in train(known, folder=tmp_path, steps=30, seed=1, batch=16):
        pass

    score = generic.scores([trained(tmp_path)], known.maps["clean"])
    judged = judge(score, known, ["world", "piper"])

    assert min(judged.auc.values()) > 0.9
    assert judged.eer < 0.2


def test_without_one_of_the_classes_nothing_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 real clips"):
        next(train(table(real=0), folder=tmp_path, steps=2, seed=1, batch=8))


def test_disturbed_maps_differ_from_clip_to_clip_and_keep_the_frames() -> None:
    seen = torch.randn(1, MAPS, 20, ALL_BANDS).expand(3, -1, -1, -1)

    disturbed = disturb(seen, torch.Generator().manual_seed(1))

    assert disturbed.shape == (3, MAPS, 20, BANDS)
    assert torch.isfinite(disturbed).all()
    assert not torch.allclose(disturbed[0], disturbed[1])


def test_the_command_trains_from_a_corpus_and_says_how_it_does_on_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    clips = [item(g, n) for g in ("", "world", "piper") for n in range(2)]
    tests = [item(g, n, role="calibrate", source="y") for g in ("", "piper") for n in range(2)]
    write(corpus, [*clips, *tests], note=lambda _: None)
    monkeypatch.setattr(generic, "VARIANTS", {"clean": generic.VARIANTS["clean"]})
    monkeypatch.setattr(generic, "TESTED", ("clean",))
    monkeypatch.setattr(generic, "SEEDS", (1,))

    result = CliRunner().invoke(
        command,
        [
            *("generic", "--folder", str(tmp_path), "--corpus", str(corpus)),
            *("--steps", "1", "--batch", "4", "--threads", "1", "--format", "jsonl"),
        ],
        catch_exceptions=False,
    )
    row = json.loads(result.stdout)
    made = parse(Path(row["file"]).read_bytes())

    assert 0.0 <= row["auc_left_out"] <= 1.0
    assert made.card["clips"]["piper"]["clips"] == 2
    assert set(made.card["left out"]["neural"]) == {"clean", "trivial probe"}
    assert np.isfinite(made.logits(np.ones((1, 64_000), np.float32))).all()


def test_without_a_corpus_the_command_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="corpus"):
        CliRunner().invoke(command, ["generic", "--folder", str(tmp_path)], catch_exceptions=False)


def test_a_corpus_without_a_usable_clip_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [item("", 0, license_="GPL-2.0-only")], note=lambda _: None)

    with pytest.raises(InputError, match="can be used"):
        generic.dataset(
            tmp_path, work=tmp_path, wanted=learnable, variants=("clean",), note=lambda _: None
        )
