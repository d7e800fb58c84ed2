"""A plug-in is asked only after it was measured here, and nothing about it is guessed."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from detectors.base import Waveform
from detectors.synthetic import judging
from detectors.synthetic.judging import LIKELY_P, Heard, hear, judge
from detectors.synthetic.plugin_scores import Scores, Sound
from safegen import plugins, roster
from safegen.cli import main
from safegen.config import Config, from_environment
from safegen.errors import InputError, IntegrityError
from safegen.evaluation import plugin as measuring
from tests.detectors import plugin_models as models
from tests.safegen.plugin_help import LOUD, QUIET, entry, folder_of, noise, small_roster

Run = Callable[..., Result]
REVISION = "0123456789abcdef0123456789abcdef01234567"


HEARD: dict[bytes, Heard] = {}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    def hear_once(waveform: Waveform, sample_rate: int) -> Heard:
        key = waveform.tobytes()
        if key not in HEARD:
            HEARD[key] = hear(waveform, sample_rate)
        return HEARD[key]

    monkeypatch.setattr(roster, "shipped", small_roster)
    monkeypatch.setattr(measuring, "hear", hear_once)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    home = tmp_path / "home"
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    return from_environment({"SAFEGEN_HOME": str(home)})


@pytest.fixture
def run(config: Config) -> Run:
    def call(*words: object) -> Result:
        return CliRunner().invoke(main, ["detectors", *map(str, words)])

    return call


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("sound") / "real", 110, level=QUIET, seed=0)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("sound") / "fake", 12, level=LOUD, seed=900, sources=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.wav2vec2(tmp_path_factory.mktemp("models") / "tiny")


def words(name: str, model: object, **changes: object) -> list[object]:
    """Describe the model that hears loudness, as its author would have to."""
    usual: dict[str, object] = {
        "model": model,
        "code": models.CODE,
        "synthetic-label": 0,
        "sample-rate": 16_000,
        "crop": "whole",
        "for": "speech",
        "license": "MIT",
    }
    options = {key.replace("_", "-"): value for key, value in changes.items()}
    chosen = {key: value for key, value in (usual | options).items() if value is not None}
    return ["add", name, *(word for key, value in chosen.items() for word in (f"--{key}", value))]


def transformers_words(name: str, model: object, **changes: object) -> list[object]:
    """Describe the wav2vec2 classifier."""
    usual = {"code": None, "synthetic_label": "fake", "real_label": "real"}
    return words(name, model, **(usual | changes))


def row(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_plug_in_is_added_measured_asked_and_removed(
    run: Run,
    config: Config,
    real: Path,
    fake: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The noise of these tests is less clearly speech than a plug-in for speech asks for.
    monkeypatch.setattr(judging, "SURE", 0.0)
    added = run(*words("loudness", models.loudness(tmp_path / "model")))
    assert added.exit_code == 0, added.output
    assert "not asked yet" in added.stdout
    assert "loudness: plug-in torch, added, speech, 16000 Hz" in run("list").stdout
    assert "MIT, NOT CALIBRATED, not asked" in run("list").stdout
    assert roster.roster_of(config).generic == ()

    measured = row(
        run("calibrate", "loudness", "--real", real, "--fake", fake, "--format", "jsonl")
    )

    assert measured["heard"] == 122
    (speech,) = measured["figures"]
    assert (speech["kind"], speech["real"], speech["real_sources"]) == ("speech", 110, 6)
    assert (speech["auc"], speech["eer"]) == (1.0, 0.0)
    assert speech["least_p_value"] == pytest.approx(1 / 111, abs=1e-5)
    assert [t["p_value"] for t in speech["thresholds"]] == [0.05, LIKELY_P]
    assert speech["thresholds"][-1]["found"]["rate"] == 1.0
    assert speech["thresholds"][0]["false_alarms"]["rate"] <= 0.1

    cast = roster.roster_of(config)
    assert [model.name for model in cast.generic] == ["loudness"]
    finding = judge(noise(77, LOUD, 6.0)[None], 16_000, roster=cast)
    heard = next(answer for answer in finding.answers if answer.name == "loudness")
    assert heard.p_value <= LIKELY_P
    assert heard.llr > 1.0
    listed = [json.loads(line) for line in run("list", "--format", "jsonl").stdout.splitlines()]
    assert [(r["name"], r["layer"], r["calibrated"]) for r in listed] == [
        ("known", "generator", True),
        ("loudness", "plug-in", True),
    ]
    assert "AUC 1.000" in run("show", "loudness").stdout
    assert "license         MIT" in run("show", "loudness").stdout

    assert run("remove", "loudness").exit_code == 0
    assert roster.roster_of(config) is small_roster()
    assert run("show", "loudness").exit_code == 2


def test_labels_the_wrong_way_round_are_seen_on_synthetic_sound(
    run: Run, config: Config, real: Path, fake: Path, tmp_path: Path
) -> None:
    model = models.loudness(tmp_path / "model")
    run(*words("swapped", model, synthetic_label=None, real_label=0))

    found = run("calibrate", "swapped", "--real", real, "--fake", fake)

    assert found.exit_code == 2, found.output
    assert "calls real speech more synthetic than synthetic speech (AUC 0.00" in found.stderr
    assert "label map may be the wrong way round" in found.stderr
    assert plugins.find(config, "swapped").calibration is None


def test_a_plug_in_that_tells_nothing_is_not_calibrated(
    run: Run, real: Path, fake: Path, tmp_path: Path
) -> None:
    run(*words("dull", models.loudness(tmp_path / "model", 0.0)))

    found = run("calibrate", "dull", "--real", real, "--fake", fake)

    assert found.exit_code == 2, found.output
    assert "dull does not tell synthetic speech from real (AUC 0.50" in found.stderr


def test_a_stopped_calibration_goes_on_where_it_was(
    run: Run, config: Config, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*words("loudness", models.loudness(tmp_path / "model")))
    plugin = plugins.find(config, "loudness")
    files = measuring.plan(real, None)
    reference = small_roster().reference
    first = list(islice(measuring.listen(plugin, files, reference=reference, jobs=1), 20))
    asked = []
    ask = measuring._ask

    def counted(model: str, described: str, path: Path) -> Any:
        asked.append(path)
        return ask(model, described, path)

    monkeypatch.setattr(measuring, "_ask", counted)
    result = run("calibrate", "loudness", "--real", real)

    assert result.exit_code == 0, result.output
    assert len(first) == 20
    assert len(asked) == len(files) - 20
    assert not (plugin.folder / plugins.UNFINISHED).exists()


def test_files_that_cannot_be_heard_are_named_and_counted(
    run: Run, real: Path, tmp_path: Path
) -> None:
    import soundfile

    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(folder / "short.wav", noise(1, LOUD, 1.0), 16_000)
    for path in sorted(real.rglob("*.wav"))[:30]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "again.wav").write_bytes((folder / "0.wav").read_bytes())
    run(*words("loudness", models.loudness(tmp_path / "model")))

    result = run("calibrate", "loudness", "--real", folder)

    assert result.exit_code == 0, result.output
    assert "broken.wav: " in result.stderr
    assert "short.wav: too short: 1.0 s" in result.stderr
    assert "calibrated with 30 files, 2 were left out" in result.stdout
    assert "smallest p-value 0.0323" in result.stdout
    assert "too few to call anything synthetic" in result.stdout
    assert "p <= 0.05: 3.3 % false alarms on other sources" in result.stdout


def test_alarms_are_counted_on_sources_that_the_threshold_was_not_set_on() -> None:
    # Each source has a level of its own, so that the highest is an alarm to all others.
    sounds = [
        Sound(
            sha256=f"{n}",
            source=f"{n % 5}",
            synthetic=False,
            speech=True,
            seconds=4.0,
            scores=(float(n % 5) + n / 1000,),
        )
        for n in range(30)
    ]

    (speech,) = measuring.figures(
        Scores(plugin="", made="", how="", sounds=tuple(sounds)), ("speech", "music")
    )

    (threshold,) = speech.thresholds
    assert threshold.alarms is not None
    assert threshold.alarms.hits == 6
    # With 24 sounds of four sources, there is no p-value below one in 25.
    assert measuring._threshold(sounds, 0.035).alarms is None


def test_too_little_sound_calibrates_nothing(run: Run, tmp_path: Path) -> None:
    run(*words("loudness", models.loudness(tmp_path / "model")))
    few = folder_of(tmp_path / "few", 29, level=QUIET, seed=0)
    one = folder_of(tmp_path / "one", 30, level=QUIET, seed=0, sources=1)

    by_files = run("calibrate", "loudness", "--real", few)
    by_sources = run("calibrate", "loudness", "--real", one)

    assert (by_files.exit_code, by_sources.exit_code) == (2, 2)
    assert "29 audio files, at least 30" in by_files.stderr
    assert "30 of speech from 1 sources" in by_sources.stderr


def test_sound_that_a_plug_in_is_not_for_does_not_measure_it(
    run: Run, real: Path, tmp_path: Path
) -> None:
    run(*words("music-only", models.loudness(tmp_path / "model"), **{"for": "music"}))

    result = run("calibrate", "music-only", "--real", real)

    assert result.exit_code == 2
    assert "is for music; of the real files 110 of speech from 6 sources" in result.stderr


def test_one_file_cannot_be_real_and_fake(real: Path, fake: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    for path in [*fake.rglob("*.wav"), next(real.rglob("*.wav"))]:
        (both / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())

    with pytest.raises(InputError, match="the same file as"):
        measuring.plan(real, both)


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "no label map": (
        {"synthetic_label": None, "real_label": None},
        "no label map; the model's labels are 'fake', 'real'",
    ),
    "labels by number": ({"synthetic_label": "0", "real_label": "1"}, "no label '0'"),
    "the wrong rate": ({"sample_rate": 8_000}, "its feature extractor says 16000"),
    "a crop without a length": ({"crop": "repeat"}, "neither whole nor"),
    "a license that is not free": ({"license": "CC-BY-NC-4.0"}, "--accept-license"),
    "a bad name": ({"name": "../up"}, "is not lower-case"),
    "the name of an entry": ({"name": "known"}, "the name of something else"),
    "a hub name without a commit": (
        {"model": "somebody/something", "revision": "main"},
        "is not a commit",
    ),
    "no such folder": ({"model": "no/such/folder"}, "neither a folder, nor"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_missing_or_wrong_is_refused(
    wrong: str, run: Run, config: Config, tiny: Path
) -> None:
    changes, said = REFUSED[wrong]
    options = {"name": "tiny", "model": tiny} | changes

    result = run(*transformers_words(str(options.pop("name")), options.pop("model"), **options))

    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert plugins.installed(config) == ()
    assert not list(plugins.folder_of(config).glob(".*"))


def test_a_license_can_be_accepted(run: Run, tiny: Path) -> None:
    asked = transformers_words("tiny", tiny, license="CC-BY-NC-4.0")

    result = run(*asked, "--accept-license", "--format", "jsonl")

    assert row(result)["license"] == "CC-BY-NC-4.0"
    assert run(*asked, "--accept-license").exit_code == 2
    assert run(*asked, "--accept-license", "--overwrite").exit_code == 0


def test_a_folder_with_a_pickle_is_refused(run: Run, tmp_path: Path) -> None:
    folder = models.wav2vec2(tmp_path / "old", safe=False)

    result = run(*transformers_words("old", folder))

    assert result.exit_code == 2
    assert "only pytorch_model.bin, which may be a pickle and is never read" in result.stderr


def test_without_a_network_the_hub_is_a_clear_error(run: Run, config: Config) -> None:
    result = run(*transformers_words("far", "somebody/something", revision=REVISION))

    assert result.exit_code == 1, result.output
    assert "somebody/something@0123456789ab was not fetched" in result.stderr
    assert "give its path for --model" in result.stderr
    assert plugins.installed(config) == ()


def test_a_damaged_plug_in_is_an_error_that_names_it(
    run: Run, config: Config, real: Path, tmp_path: Path
) -> None:
    run(*words("loudness", models.loudness(tmp_path / "model")))
    assert run("calibrate", "loudness", "--real", real).exit_code == 0
    plugin = plugins.find(config, "loudness")
    (weights,) = plugin.model.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    with pytest.raises(IntegrityError, match=r"plugins/loudness: .* not those that it was added"):
        roster.roster_of(config)
    (plugin.folder / plugins.DESCRIPTION).write_text("{}")
    with pytest.raises(IntegrityError, match=r"loudness/plugin.json: .* lacks 'name'"):
        roster.roster_of(config)
    result = run("list")
    assert result.exit_code == 4
    assert "remove loudness" in result.stderr
    # It can still be removed.
    assert run("remove", "loudness").exit_code == 0


def test_a_calibration_of_an_older_label_map_is_an_error(
    run: Run, config: Config, real: Path, tmp_path: Path
) -> None:
    model = models.loudness(tmp_path / "model")
    run(*words("loudness", model))
    assert run("calibrate", "loudness", "--real", real).exit_code == 0
    kept = plugins.find(config, "loudness").calibration
    assert kept is not None
    run(*words("loudness", model, synthetic_label=None, real_label=0), "--overwrite")
    plugin = plugins.find(config, "loudness")
    assert plugin.calibration is None
    (plugin.folder / plugins.CALIBRATION).write_bytes(kept)

    with pytest.raises(IntegrityError, match="of another model or label map"):
        roster.roster_of(config)


def test_added_generators_join_those_that_ship(run: Run, config: Config) -> None:
    assert roster.roster_of(config) is small_roster()

    roster.write_generator(config, entry("mine"))

    cast = roster.roster_of(config)
    assert [each.name for each in cast.entries] == ["known", "mine"]
    assert roster.roster_of(config) is cast
    assert cast.model_id != small_roster().model_id
    assert "mine: generator vocoder, added, speech, 22050 Hz, from 4 s" in run("list").stdout
    assert "codecs mp3-64k, speech eer=0.05" in run("list").stdout
    assert "card            a test" in run("show", "mine").stdout
    assert run("remove", "mine").exit_code == 0
    assert roster.roster_of(config) is small_roster()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (entry("mine", own=True), "ships with this project"),
        (entry("mine", reference="other"), "other real windows"),
        (entry("known"), "a shipped entry has its name"),
    ],
    ids=["not ours", "of another reference", "a name twice"],
)
def test_an_added_generator_that_cannot_be_asked_is_named(
    made: Any, said: str, config: Config
) -> None:
    path = roster.write_generator(config, made)

    with pytest.raises(IntegrityError, match=said) as error:
        roster.roster_of(config)
    assert str(path) in str(error.value)


def test_an_added_generator_that_is_broken_is_named(config: Config) -> None:
    path = roster.write_generator(config, entry("mine"))
    path.write_bytes(b"broken")

    with pytest.raises(IntegrityError, match=r"mine.safetensors: not an? "):
        roster.roster_of(config)
