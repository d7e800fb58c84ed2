import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from detectors.synthetic import trivial
from safegen.cli.eval import eval_command
from safegen.errors import InputError
from safegen.evaluation.auditing import facts
from safegen.evaluation.auditing.manifest import read
from safegen.evaluation.auditing.probe import TOGETHER, Column, Groups, separations
from safegen.evaluation.dataset_audit import audit, command
from tests.safegen.evaluation.dataset_help import (
    SAMPLE_RATE,
    Floats,
    data_set,
    kinds,
    manifest,
    sound,
    write,
)


def later(samples: Floats) -> Floats:
    """Put a pause in front, as synthesizers do."""
    return np.concatenate([np.zeros(SAMPLE_RATE // 5), samples])


def run(folder: Path, *arguments: str, status: int) -> dict[str, Any]:
    result = CliRunner().invoke(command, [str(folder), *arguments])

    assert result.exit_code == status, result.output
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fair")
    data_set(folder)
    return folder


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fakes begin with a pause and are stored at another rate; three files are faulty."""
    folder = tmp_path_factory.mktemp("confounded")
    rows = data_set(folder, change_fakes=later, fake_rate=24_000)
    blank = dict.fromkeys(rows[0], "")
    (folder / "junk.wav").write_bytes(b"no sound")
    shutil.copy(folder / "real-0-0.wav", folder / "copy <b>.wav")
    write(folder / "silent.wav", np.zeros(SAMPLE_RATE))
    rows += [
        {**blank, "file": "junk.wav", "label": "real"},
        {**blank, "file": "gone.wav", "label": "fake"},
        {**blank, "file": "silent.wav", "label": "real"},
        {**blank, "file": "copy <b>.wav", "label": "fake", "split": "train"},
    ]
    rows[0]["source"] = "speaker-4"
    manifest(folder, rows)
    return folder


def test_classes_that_are_alike_have_no_confound(fair: Path) -> None:
    found = run(fair, status=0)

    assert found["verdict"] == "no confound found"
    assert (found["real"], found["fake"]) == (30, 30)
    assert not any(each["confound"] for each in found["features"])
    assert {"sample rate", "codec", "bit depth"} <= set(found["constant"])


def test_what_differs_is_named_with_a_remedy_and_nothing_is_skipped_silently(
    confounded: Path, tmp_path: Path
) -> None:
    report = tmp_path / "audit.html"
    found = run(confounded, "--report", str(report), status=3)
    features_ = {each["feature"]: each for each in found["features"]}
    named = {item for each in found["findings"] for item in each["items"]}

    assert features_["leading silence"]["auc"] > 0.95
    assert features_["sample rate"]["confound"]
    assert features_[TOGETHER]["low95"] > 0.9
    assert {"leading silence", "sample rate"} <= named
    assert all(each["remedy"] for each in found["findings"])
    assert {"duplicate exact classes", "source on both sides"} <= set(kinds(found))
    assert "real-0-0.wav = copy <b>.wav" in named
    assert "speaker-4: test, train" in named
    assert [each["file"] for each in found["skipped"]] == ["junk.wav", "gone.wav", "silent.wav"]
    page = report.read_text(encoding="utf-8")
    assert "Resample all files of both classes" in page
    assert "copy &lt;b&gt;.wav" in page
    assert "copy <b>.wav" not in page


def test_a_pause_in_front_of_the_fakes_is_what_the_audit_hears(tmp_path: Path) -> None:
    data_set(tmp_path, change_fakes=later)
    found = audit(read(tmp_path))
    (best, *_) = [each for each in found.separations if each.name != TOGETHER]

    assert best.name in ("leading silence", "digital zeros", "quiet share")
    assert best.is_confound


def test_one_recording_in_two_versions_is_found_on_both_sides_of_a_split(tmp_path: Path) -> None:
    rows = data_set(tmp_path, files=2)
    rng = np.random.default_rng(9)
    # Notes, so that the fingerprint has something to tell.
    song = np.concatenate([sound(rng, seconds=0.5) for _ in range(16)])
    other = np.concatenate([sound(rng, seconds=0.5) for _ in range(16)])
    for name, samples in (("a", song), ("b", song * 0.4), ("c", other)):
        write(tmp_path / f"{name}.wav", samples + rng.normal(0, 1e-3, len(samples)))
        rows.append(
            {
                "file": f"{name}.wav",
                "label": "real",
                "source": name,
                "split": "test" if name == "b" else "train",
            }
        )
    manifest(tmp_path, rows)
    found = audit(read(tmp_path))

    assert [(pair.kind, pair.first, pair.second) for pair in found.pairs] == [("near", 20, 21)]
    assert "duplicate near splits" in kinds(found.to_json())
    assert found.is_confounded


def test_what_tells_speakers_apart_is_no_confound_but_a_random_split_takes_it_for_one() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(10), 12)
    is_fake = group % 2 == 1
    names = np.array([f"g{number}" for number in group])
    groups = Groups(sources=np.where(is_fake, "", names), generators=np.where(is_fake, names, ""))
    room = Column(name="room", unit="", values=names)
    loud = Column(name="loud", unit="dB", values=is_fake + rng.normal(0, 0.3, 120))
    found = {each.name: each for each in separations([room, loud], is_fake, groups)}

    assert found["room"].auc_random > 0.95
    assert 0.4 < found["room"].auc < 0.6
    assert not found["room"].is_confound
    assert found["loud"].is_confound
    assert found["loud"].low > 0.8


def test_features_that_are_noise_are_called_confounds_no_more_often_than_stated() -> None:
    is_fake = np.repeat([False, True], 40)
    names = np.array([f"g{number // 8}" for number in range(80)])
    groups = Groups(sources=np.where(is_fake, "", names), generators=np.where(is_fake, names, ""))
    alarms = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        noise = [
            Column(name=f"n{number}", unit="", values=rng.normal(size=80)) for number in range(5)
        ]
        alarms += any(each.is_confound for each in separations(noise, is_fake, groups))

    assert alarms <= 1


def test_folders_name_sources_and_generators(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("real/anna/1.wav", "real/2.wav", "fake/hifi/3.wav", "fake/4.wav"):
        write(tmp_path / name, sound(rng, seconds=0.6))
    (tmp_path / "real/notes.txt").write_text("no audio")
    items = read(tmp_path)

    assert [(item.file, item.is_fake, item.source, item.generator) for item in items] == [
        ("real/2.wav", False, "", ""),
        ("real/anna/1.wav", False, "anna", ""),
        ("fake/4.wav", True, "", ""),
        ("fake/hifi/3.wav", True, "", "hifi"),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name,label\na.wav,real\n", "no column 'file'"),
        ("file,label\na.wav,\n", "line 2: label is empty"),
        ("file,label\na.wav,real\na.wav,fake\n", "line 3: a.wav is named twice"),
        ("file,label\n../a.wav,real\n", "line 2: ../a.wav is outside"),
        ("file,label\n/etc/passwd,real\n", "outside of the data set"),
    ],
)
def test_a_manifest_that_does_not_say_what_a_line_is_about_is_refused(
    text: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "manifest.csv").write_text(text)

    with pytest.raises(InputError, match=fault):
        read(tmp_path)


def test_a_folder_without_either_form_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither manifest\.csv nor the folders"):
        read(tmp_path)


def test_too_few_readable_files_are_refused_with_the_first_that_was_lost(tmp_path: Path) -> None:
    rows = data_set(tmp_path, groups=2, files=5)
    (tmp_path / "real-0-0.wav").write_bytes(b"")
    manifest(tmp_path, rows)

    with pytest.raises(InputError, match=r"9 readable real files.*real-0-0.wav"):
        audit(read(tmp_path))


def test_a_declared_column_is_compared(fair: Path, tmp_path: Path) -> None:
    rows = data_set(tmp_path)
    for number, row in enumerate(rows):
        row["microphone"] = "studio" if row["label"] == "real" else ("phone", "web")[number % 2]
    manifest(tmp_path, rows)
    found = run(tmp_path, "--also", "microphone", status=3)

    assert any("microphone" in each["items"] for each in found["findings"])
    with pytest.raises(InputError, match="no column 'microphone'"):
        read(fair, also=("microphone",))


def test_the_trivial_features_of_the_classifier_are_all_probed() -> None:
    assert facts.NUMBERS[-8:] == trivial.trivial_names()
    assert set(facts.MEANINGS) == set(facts.NUMBERS)


def test_the_report_is_not_written_over(fair: Path, tmp_path: Path) -> None:
    there = tmp_path / "audit.html"
    there.write_text("mine")
    result = CliRunner().invoke(eval_command, ["dataset-audit", str(fair), "--report", str(there)])

    assert isinstance(result.exception, InputError)
    assert there.read_text() == "mine"


def test_lossless_files_of_two_formats_are_only_noted(tmp_path: Path) -> None:
    for row in (rows := data_set(tmp_path)):
        if row["label"] == "real":
            path = tmp_path / row["file"]
            samples, rate = soundfile.read(path)
            row["file"] = path.with_suffix(".flac").name
            soundfile.write(tmp_path / row["file"], samples, rate, subtype="PCM_16")
    manifest(tmp_path, rows)
    found = run(tmp_path, status=0)

    assert "feature" in kinds(found)
    assert [each["items"] for each in found["findings"] if each["kind"] == "feature"] == [
        ["container"]
    ]
    assert "bit rate" in found["constant"]


def test_a_codec_of_one_class_only_is_a_confound(tmp_path: Path) -> None:
    for row in (rows := data_set(tmp_path)):
        if row["label"] != "real":
            path = tmp_path / row["file"]
            samples, rate = soundfile.read(path)
            row["file"] = path.with_suffix(".mp3").name
            soundfile.write(tmp_path / row["file"], samples, rate)
    manifest(tmp_path, rows)
    found = run(tmp_path, status=3)
    named = {item for each in found["findings"] for item in each["items"]}

    assert {"codec", "bit depth", "bit rate"} <= named
