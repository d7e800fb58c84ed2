import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, load, save
from safegen.errors import InputError
from safegen.evaluation.attacks import through_g722
from safegen.training import chain, corpora, sources
from safegen.training.chain import DRY_RATE, GAP_SECONDS, SAMPLE_RATE, active_level_db
from safegen.training.corpora import Item
from safegen.training.items import COLUMNS, MANIFEST
from safegen.training.sources import Source
from safegen.training.synthesizers import Synthesizer, synthesizer
from tests.safegen.training.voice_help import babbling

SECONDS = 2.0


def fast(kind: str = "copy") -> Synthesizer:
    """A synthesizer that costs nothing: it turns the sound round, or speaks by number."""
    row = synthesizer("griffin-lim")
    if kind == "copy":
        return replace(
            row, name="turned", copies=lambda audio: replace(audio, waveform=-audio.waveform)
        )
    return replace(
        row,
        name="robot",
        voice_license="MIT",
        copies=None,
        speaks=lambda text: babbling(1.5, sample_rate=24_000, seed=len(text)),
    )


def silently(_: str) -> None:
    """Take a note and forget it."""


def nothing() -> Audio:
    """Stand for sound where only the facts of items are compared."""
    raise AssertionError


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """One speaker with eight phrases that went through G.722, in files at 16 kHz."""
    folder = tmp_path_factory.mktemp("speaker")
    paths = []
    for number in range(8):
        path = folder / f"phrase-{number}.flac"
        save(babbling(0.8 + 0.1 * number, sample_rate=16_000, seed=number), path)
        paths.append(path)
    return Source(
        name="somebody", role="train", license="CC-BY-3.0", codec="g722", paths=tuple(paths)
    )


def made(speaker: Source, *, seed: int = 1, copies: int = 1) -> list[Item]:
    return list(
        corpora.speech(
            speaker,
            seconds=SECONDS,
            count=3,
            synthesizers=(fast(),),
            copies=copies,
            seed=seed,
        )
    )


def test_both_classes_have_the_same_codecs_in_the_same_order(
    speaker: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[str] = []

    def g722(audio: Audio) -> Audio:
        passed.append("g722")
        return audio

    def vorbis(audio: Audio, quality: float) -> Audio:
        passed.append(f"vorbis {quality}")
        return audio

    monkeypatch.setattr(chain, "through_g722", g722)
    monkeypatch.setattr(chain, "through_vorbis", vorbis)
    real, copy = made(speaker)[0], made(speaker)[-1]

    real.make()
    of_real = passed.copy()
    passed.clear()
    copy.make()

    assert (real.label, copy.label) == ("real", "fake")
    # The recording itself went through G.722 before it came to us.
    assert of_real == ["vorbis 0.4"]
    assert passed == ["g722", "vorbis 0.4"]
    assert real.history == copy.history == "g722 vorbis"


@pytest.mark.parametrize(
    ("codec", "before", "after"),
    [("g722", ("g722",), ("vorbis",)), ("vorbis", ("vorbis",), ("g722",))],
)
def test_what_a_recording_has_behind_it_is_not_done_again(
    codec: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    assert chain.history(codec, chain.SPEECH_CODECS) == (before, after)


def test_g722_comes_back_in_place_at_the_rate_and_channels_it_had() -> None:
    stereo = babbling(2.0, sample_rate=44_100, seed=2)
    stereo = replace(stereo, waveform=np.repeat(stereo.waveform, 2, axis=0))

    passed = through_g722(stereo)

    near = {
        late: float(stereo.waveform[1, 100:-100] @ passed.waveform[1, 100 + late : -100 + late])
        for late in range(-99, 100)
    }
    assert passed.waveform.shape == stereo.waveform.shape
    assert max(near, key=lambda late: near[late]) == 0
    assert not np.allclose(passed.waveform, stereo.waveform, atol=1e-3)


def test_a_codec_that_no_history_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no codec 'amr'"):
        chain.through(babbling(0.5, sample_rate=SAMPLE_RATE, seed=1), "amr")


@pytest.mark.parametrize("number", range(3))
def test_a_finished_clip_has_the_length_and_a_level_of_the_range(
    speaker: Source, number: int
) -> None:
    audio = made(speaker)[number].make()

    assert audio.sample_rate == SAMPLE_RATE
    assert audio.waveform.shape == (1, round(SECONDS * SAMPLE_RATE))
    assert abs(active_level_db(audio) - chain.LEVEL_DB) < chain.LEVEL_SPREAD_DB + 1.0


def test_a_clip_and_its_copy_share_level_and_noise(
    speaker: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "through", lambda audio, codec: audio)
    items = made(speaker)

    real, copy = items[0].make().mono(), items[-1].make().mono()

    # The copy is the clip upside down: what is left of the sum is the noise, twice.
    noise = (real + copy) / 2
    under = 10 * np.log10(np.mean(real**2) / np.mean(noise**2))
    assert Path(items[0].file).name == Path(items[-1].file).name
    assert chain.SNR_DB[0] - 3 < under < chain.SNR_DB[1] + 3


def test_a_clip_begins_and_ends_in_silence(
    speaker: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "through", lambda audio, codec: audio)

    samples = made(speaker)[0].make().mono()

    assert samples[0] == samples[-1] == 0.0


def test_phrases_are_trimmed_and_joined_with_short_gaps() -> None:
    quiet = np.zeros((1, 8_000), np.float32)
    whole = babbling(0.6, sample_rate=16_000, seed=7)
    padded = replace(whole, waveform=np.concatenate([quiet, whole.waveform, quiet], axis=1))
    phrase = chain.phrase(padded)
    assert phrase is not None
    tones = [Audio(waveform=np.ones((1, DRY_RATE), np.float32), sample_rate=DRY_RATE)] * 9

    (first, *_) = chain.joined(tones, seconds=3.5, dice=np.random.default_rng(1))

    edges = np.flatnonzero(np.diff(first.waveform[0] == 0.0))
    gaps = (edges[1::2] - edges[::2][: len(edges[1::2])]) / DRY_RATE
    assert phrase.seconds == pytest.approx(0.6, abs=0.05)
    assert first.seconds == pytest.approx(3.5)
    assert len(gaps) == 2
    assert (gaps >= GAP_SECONDS[0] - 1e-3).all()
    assert (gaps <= GAP_SECONDS[1] + 1e-3).all()


def test_silence_and_clicks_are_no_phrases() -> None:
    silence = Audio(waveform=np.zeros((1, 16_000), np.float32), sample_rate=16_000)
    click = np.zeros((1, 16_000), np.float32)
    click[0, 8_000] = 1.0

    assert chain.phrase(silence) is None
    assert chain.phrase(replace(silence, waveform=click)) is None


def test_the_way_to_16_khz_leaves_the_band_as_it_was() -> None:
    # The highest 700 Hz told the classes apart when an ordinary filter took them.
    noise = np.random.default_rng(1).standard_normal((1, 64_000)).astype(np.float32) * 0.1
    audio = Audio(waveform=noise, sample_rate=16_000)

    there = chain.phrase(audio)
    assert there is not None
    back = chain._at_rate(there, 16_000).mono()

    band = slice(round(0.90 * 32_000), round(0.97 * 32_000))
    before, after = (np.abs(np.fft.rfft(x, n=64_000))[band] for x in (noise[0], back))
    assert 20 * np.log10(after.mean() / before.mean()) == pytest.approx(0.0, abs=0.2)


def test_an_item_is_made_again_from_the_seed_alone(speaker: Source) -> None:
    first, again, other = made(speaker), made(speaker), made(speaker, seed=2)

    assert np.array_equal(first[2].make().waveform, again[2].make().waveform)
    assert np.array_equal(first[-1].make().waveform, again[-1].make().waveform)
    assert not np.array_equal(first[2].make().waveform, other[2].make().waveform)


def test_licenses_add_up_and_copyleft_trains_nothing(speaker: Source) -> None:
    real, copy = made(speaker)[0], made(speaker)[-1]

    assert real.license == "CC-BY-3.0"
    assert copy.license == "CC-BY-3.0 + Apache-2.0"
    assert corpora.trains_weights(copy.license)
    assert not corpora.trains_weights("CC-BY-3.0 + AGPL-3.0-or-later")
    assert not corpora.trains_weights("GFDL-1.3-or-later")


def test_a_voice_speaks_other_sentences_to_those_who_judge_it() -> None:
    train, held = corpora.sentences(held_out=False), corpora.sentences(held_out=True)

    assert len(train) + len(held) >= 120
    assert not set(train) & set(held)
    assert len(train) == pytest.approx(2 * len(held), abs=2)


def test_spoken_clips_go_through_the_codecs_of_their_role() -> None:
    rows = {
        role: next(corpora.spoken(fast("text"), role=role, seconds=SECONDS, count=1, seed=1))
        for role in sources.ROLES
    }

    assert rows["train"].history == "g722 vorbis"
    assert rows["held"].history == rows["calibrate"].history == "vorbis g722"
    assert rows["train"].make().seconds == SECONDS


def test_a_stopped_corpus_is_continued_and_never_made_twice(
    speaker: Source, tmp_path: Path
) -> None:
    items = made(speaker)
    asked: list[str] = []

    def counted(item: Item) -> Item:
        def make() -> Audio:
            asked.append(item.file)
            return item.make()

        return replace(item, make=make)

    first = corpora.write(tmp_path, map(counted, items[:2]), note=asked.append)
    second = corpora.write(tmp_path, map(counted, items), note=asked.append)
    third = corpora.write(tmp_path, map(counted, items), note=asked.append)

    assert (first, second, third) == (2, 2, 0)
    assert sorted(asked) == sorted(item.file for item in items)
    assert len(list(corpora.read(tmp_path))) == len(items)


def test_a_half_written_row_is_made_again(speaker: Source, tmp_path: Path) -> None:
    items = made(speaker)[:2]
    corpora.write(tmp_path, items, note=silently)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text()[:-12])

    again = corpora.write(tmp_path, items, note=silently)

    assert again == 1
    assert [item.file for item in corpora.read(tmp_path)] == [item.file for item in items]


def test_what_is_written_comes_back(speaker: Source, tmp_path: Path) -> None:
    items = made(speaker)
    corpora.write(tmp_path, items, note=silently)

    back = list(corpora.read(tmp_path))

    assert [replace(row, make=nothing) for row in back] == [
        replace(row, make=nothing) for row in items
    ]
    for item, row in zip(items[-1:], back[-1:], strict=True):
        gone = row.make().waveform - item.make().waveform
        assert np.abs(gone).max() <= 0.5 / 32_768 + 1e-7
    with (tmp_path / MANIFEST).open() as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    assert load(tmp_path / items[0].file).sample_rate == SAMPLE_RATE


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.csv"):
        list(corpora.read(tmp_path))


def test_somebody_elses_manifest_is_left_alone(speaker: Source, tmp_path: Path) -> None:
    manifest = tmp_path / MANIFEST
    manifest.write_text("path,label\na.wav,real\n")

    with pytest.raises(InputError, match="columns path, label instead of file"):
        corpora.write(tmp_path, made(speaker), note=silently)
    assert manifest.read_text() == "path,label\na.wav,real\n"


def test_a_row_with_an_unknown_role_is_refused(speaker: Source, tmp_path: Path) -> None:
    corpora.write(tmp_path, made(speaker)[:1], note=silently)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text().replace(",train,", ",test,"))

    with pytest.raises(InputError, match="role 'test' is none of train, calibrate, held"):
        list(corpora.read(tmp_path))


def test_a_missing_tool_stops_a_corpus_before_anything_is_decoded(speaker: Source) -> None:
    gone = replace(speaker, paths=(Path("nowhere.ogg"),))
    broken = replace(fast(), needs=(synthesizer("world").needs[0],))
    if not broken.missing:
        pytest.skip("pyworld is installed, so nothing is missing")

    with pytest.raises(InputError, match="pip install pyworld"):
        next(corpora.speech(gone, seconds=1.0, count=1, synthesizers=(broken,), copies=1, seed=1))


def test_a_damaged_recording_is_told_and_left_out(
    speaker: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.ogg"
    bad.write_bytes(b"OggS" + bytes(40))

    items = made(replace(speaker, paths=(*speaker.paths, bad)))

    assert len(items) > 0
    assert "left out" in caplog.text
    assert "bad.ogg" in caplog.text


def test_music_keeps_its_rate_and_gets_vorbis_and_opus_once(tmp_path: Path) -> None:
    path = tmp_path / "track.flac"
    save(babbling(6.0, sample_rate=44_100, seed=9), path)
    track = Source(name="track", role="train", license="MIT", codec="vorbis", paths=(path,))

    items = list(corpora.music(track, seconds=SECONDS, count=2, synthesizers=(fast(),), seed=1))
    real, copy = items[0].make(), items[2].make()

    assert [item.label for item in items] == ["real", "real", "fake", "fake"]
    assert {item.history for item in items} == {"vorbis opus"}
    assert real.sample_rate == copy.sample_rate == 44_100
    assert real.waveform.shape == copy.waveform.shape == (1, round(SECONDS * 44_100))


def test_speakers_are_listed_by_role(tmp_path: Path) -> None:
    def put(path: str, size: int = 10_000) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(bytes(size))

    put("asterisk-core-sounds-en-g722/x/hello.g722")
    put("asterisk-core-sounds-en-g722/x/beep.g722")
    put("asterisk-core-sounds-en-g722/x/short.g722", size=100)
    put("tuxpaint-stamps-default/x/cat_desc_fr.ogg")
    put("tuxpaint-stamps-default/x/cat_desc_nl.ogg")
    put("tuxpaint-stamps-default/x/cat.ogg")
    put("hedgewars-data/usr/share/games/hedgewars/Data/Sounds/voices/Pirate/Hello.ogg")
    put("hedgewars-data/usr/share/games/hedgewars/Data/Sounds/voices/Robot/Hello.ogg")

    found = {role: sources.speakers(tmp_path, role) for role in sources.ROLES}

    assert [[s.name for s in found[role]] for role in sources.ROLES] == [
        ["asterisk-en"],
        ["tuxpaint-fr"],
        ["hedgewars-Pirate"],
    ]
    assert [path.name for path in found["train"][0].paths] == ["hello.g722"]
    assert [s.codec for role in sources.ROLES for s in found[role]] == ["g722", "vorbis", "vorbis"]
    assert not any(corpora.trains_weights(s.license) for s in found["held"] + found["calibrate"])
    assert all(corpora.trains_weights(s.license) for s in found["train"])


def test_an_empty_folder_has_no_speakers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="safegen eval assets"):
        sources.speakers(tmp_path, "held")
    with pytest.raises(InputError, match="safegen eval assets"):
        sources.music(tmp_path, "held", work=tmp_path)
