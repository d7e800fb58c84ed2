"""Recipe: the models that the synthetic-audio classifier ships with.

    corpus of speech, music, outputs -> windows -> reference of real sound
                                                -> one entry per generator
                                                -> yardsticks of the generic model

Speech is the corpus of ``safegen.training.corpora``; music comes from the same assets,
outputs from the shipped generators, and music of other generators from a folder of the
user's. Every part is kept when it is finished, so a stopped run continues.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic import calibration, entries, generic, reference
from detectors.synthetic.calibration import Calibration, yardstick
from detectors.synthetic.entries import Entry
from detectors.synthetic.judging import LEAST_GROUPS, LENGTHS, grouped
from detectors.synthetic.reference import Reference
from detectors.synthetic.shipping import INDEX
from detectors.synthetic.traces import WINDOW_SECONDS
from safegen.audio import load, walk
from safegen.errors import InputError
from safegen.generation.systems import load as load_model
from safegen.training import corpora, measured, sources
from safegen.training.heads import Facts, fit, learn_reference, template
from safegen.training.measured import Sound, Table
from safegen.training.outputs import excerpt, generated, prompts_of, requests_for
from safegen.training.synthesizers import SYNTHESIZERS, Synthesizer

SEED: Final = 20261121
PROMPT_SEEDS: Final = range(8_000_000, 8_100_000)
OUTPUTS: Final[Mapping[str, int]] = {"music-flow": 240, "procedural": 120}
OUTPUT_SECONDS: Final = 10.0
SPEECH_SECONDS: Final = 4.0
MUSIC_SECONDS: Final = 20.0
REAL_CLIPS: Final[Mapping[sources.Role, int]] = {"train": 60, "calibrate": 25, "held": 25}
COPIES: Final[Mapping[sources.Role, int]] = {"train": 40, "calibrate": 12, "held": 12}
SPOKEN: Final[Mapping[sources.Role, int]] = {"train": 80, "held": 40}
EXCERPTS: Final[Mapping[sources.Role, int]] = {"train": 1, "calibrate": 5}
KEPT_WINDOWS: Final = 3
"""Of a piece of music that heads learn from, so that the reference stays small."""
COPIERS: Final = ("codec", "hifigan", "griffin-lim")
"""Heard on music too; WORLD is made for voices."""
COPIES_OUT_OF: Final = 4
"""One in so many copies calibrates the generic model, so that voices count as much."""
_COPY_SECONDS: Final = 8.0

HOP_256: Final = 22_050 / 256
FACTS: Final[Mapping[str, tuple[str, int, tuple[float, ...]]]] = {
    "music-flow": ("music-diffusion", 32_000, ()),
    "procedural": ("synthesizer", 32_000, ()),
    "codec": ("codec", 32_000, ()),
    "ace-step": ("music-diffusion", 48_000, (50.0,)),
    "hifigan": ("vocoder", 22_050, (HOP_256,)),
    "world": ("vocoder", 22_050, ()),
    "griffin-lim": ("phase-reconstruction", 22_050, (HOP_256,)),
    "piper": ("neural-tts", 22_050, (HOP_256,)),
    "hibari": ("neural-tts", 24_000, (80.0,)),
    "flite-slt": ("statistical-tts", 16_000, ()),
    "flite-rms": ("statistical-tts", 16_000, ()),
    "flite-awb": ("statistical-tts", 16_000, ()),
    "flite-kal16": ("diphone", 16_000, ()),
    "festival-hts": ("statistical-tts", 32_000, ()),
    "festival-kal": ("diphone", 16_000, ()),
    "espeak": ("formant", 22_050, ()),
}
"""Family, sample rate in Hz and comb spacings in Hz of the entries that ship."""
VOICES: Final = tuple(n for n, s in SYNTHESIZERS.items() if s.kind == "text")
OWN: Final = ("music-flow", "procedural", "codec")
BY_COMB: Final = ("ace-step",)
"""Too few outputs are at hand to fit anything; the comb of the decoder answers."""
MIN_SECONDS: Final[Mapping[str, float]] = {"ace-step": 8.0, "music-flow": 8.0, "procedural": 8.0}

Note = Callable[[str], None]


def corpus(assets: Path, folder: Path, *, note: Note) -> None:
    """Write the speech clips: training speakers first, held-out ones last.

    Raises:
        InputError: If speech or a synthesizer is missing.
    """
    copiers = [s for s in SYNTHESIZERS.values() if s.kind == "copy"]
    voices = [s for s in SYNTHESIZERS.values() if s.kind == "text"]
    for role in sources.ROLES:
        for speaker in sources.speakers(assets, role):
            items = corpora.speech(
                speaker,
                seconds=SPEECH_SECONDS,
                count=REAL_CLIPS[role],
                synthesizers=copiers,
                copies=COPIES[role],
                seed=SEED,
            )
            corpora.write(folder, items, note=note)
        for voice in voices:
            if role in SPOKEN:
                corpora.write(folder, _spoken(voice, role), note=note)


def _spoken(voice: Synthesizer, role: sources.Role) -> Iterator[corpora.Item]:
    return corpora.spoken(voice, role=role, seconds=SPEECH_SECONDS, count=SPOKEN[role], seed=SEED)


def tables(
    assets: Path, speech: Path, ai_music: Mapping[str, Path], *, work: Path, note: Note
) -> Table:
    """Measure everything that entries and the reference are made of, part by part.

    Args:
        assets: Folder of the packages.
        speech: Of ``corpus``.
        ai_music: Name of an entry to a folder of that generator's music.
        work: Where finished parts are kept.
        note: Is told which part is measured.
    """
    work.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], Iterable[Sound]]] = {
        "speech-train": lambda: _speech(speech, "train"),
        "speech-calibrate": lambda: _speech(speech, "calibrate"),
        "music-train": lambda: _music(assets, "train", work),
        "music-calibrate": lambda: _music(assets, "calibrate", work),
        **{
            f"music-{name}-{role}": partial(_copies, name, assets, role, work)
            for name in COPIERS
            for role in EXCERPTS
        },
        **{f"outputs-{name}": partial(_outputs, name, work) for name in OUTPUTS},
        **{f"folder-{name}": partial(from_folder, name, path) for name, path in ai_music.items()},
    }
    done = []
    for name, make in parts.items():
        path = work / f"{name}.npz"
        if not path.exists():
            note(f"Measuring {name}")
            measured.keep(measured.join(list(measured.measure(make()))), path)
        done.append(measured.kept(path))
    return measured.join(done)


def build(table: Table, *, note: Note) -> tuple[Reference, dict[str, Entry], list[str]]:
    """Make the reference and every entry that there are outputs for.

    Returns:
        The reference as it will be read, the entries by name, and the names left out.
    """
    real = (table.generator == "") & _few(table)
    learned = learn_reference(
        table.rows(real),
        card=_card(table.rows(real)),
        synthetic=table.rows(table.generator != ""),
    )
    # As it will be read: a byte a number, half precision.
    kept = reference.parse(reference.to_bytes(learned))
    made: dict[str, Entry] = {}
    missing = []
    for name, (family, rate, spacings) in FACTS.items():
        rows = table.rows(table.generator == name)
        if not len(rows):
            missing.append(name)
            continue
        note(f"Fitting {name} on {len(rows)} windows")
        facts = Facts(
            name=name,
            family=family,
            own=name in OWN,
            sample_rate=rate,
            spacings_hz=spacings,
            min_seconds=MIN_SECONDS.get(name, WINDOW_SECONDS),
            card=_origin(name),
        )
        if name in BY_COMB:
            made[name] = template(facts, rows, kept)
            continue
        # Voices are told from each other; a vocoder must not be taught that its lines are
        # another's.
        voices = table.windows.rows(np.isin(table.generator, VOICES) & (table.generator != name))
        made[name] = fit(facts, rows, kept, rivals=voices if name in VOICES else None)
    return kept, made, missing


def calibrate_generic(corpus_folder: Path, *, note: Note) -> dict[str, Calibration]:
    """Measure the generic model on sound that it was not trained on.

    Real speech of the role "calibrate" against copies of it, of which it knows nothing, and
    voices that it knows, saying sentences that it does not.
    """
    model = generic.load()
    scores: dict[bool, list[float]] = {True: [], False: []}
    source: dict[bool, list[str]] = {True: [], False: []}
    for sound in chain(_speech(corpus_folder, "calibrate"), _speech(corpus_folder, "held")):
        if not _measures_generic(sound):
            continue
        is_real = not sound.generator
        for treatment, audio in measured.for_training(sound):
            window = audio.mono()[None, : generic.WINDOW_SAMPLES]
            if window.shape[1] == generic.WINDOW_SAMPLES:
                scores[is_real].append(float(model.logits(window)[0]))
                where = f"{sound.generator} {sound.source} {treatment == measured.CLEAN}"
                source[is_real].append(where)
    note(f"Calibrated the generic model on {len(scores[True])} real windows")
    yardsticks = []
    for count in LENGTHS:
        real, fake = (
            [
                float(np.mean([scores[is_real][row] for row in group]))
                for group in grouped(np.array(source[is_real]), count)
            ]
            for is_real in (True, False)
        )
        if len(real) >= LEAST_GROUPS:
            yardsticks.append(yardstick(real, fake, seconds=count * WINDOW_SECONDS))
    return {"speech": Calibration(yardsticks=tuple(yardsticks))}


def _measures_generic(sound: Sound) -> bool:
    if sound.generator in VOICES:
        return sound.role == "held"
    is_few = not sound.generator or zlib.crc32(sound.name.encode()) % COPIES_OUT_OF == 0
    return sound.role == "calibrate" and is_few


def write(
    folder: Path,
    real: Reference,
    made: Mapping[str, Entry],
    generic_yardsticks: Mapping[str, Calibration] | None,
) -> str:
    """Write the files that ship.

    Returns:
        Hash of the index, to be pinned in ``detectors.synthetic.shipping``.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, data: bytes) -> dict[str, str]:
        (folder / name).write_bytes(data)
        return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}

    index: dict[str, Any] = {
        "reference": put("reference.safetensors", reference.to_bytes(real)),
        "entries": [
            put(f"{name}.safetensors", entries.to_bytes(entry)) for name, entry in made.items()
        ],
    }
    if generic_yardsticks is not None:
        index["generic"] = {
            "yardsticks": {k: calibration.to_json(v) for k, v in generic_yardsticks.items()}
        }
    text = json.dumps(index, indent=1, sort_keys=True) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def from_folder(name: str, folder: Path, *, generator: bool = True) -> Iterator[Sound]:
    """Read a generator's outputs from a folder; the sub-folder of a file is its source.

    Raises:
        InputError: If there is no audio in it.
    """
    paths = list(walk((folder,)))
    if not paths:
        raise InputError(f"{folder}: no audio files", remedy="Name a folder with outputs.")
    for path in paths:
        inside = path.relative_to(folder).with_suffix("").as_posix()
        yield Sound(
            audio=load(path),
            generator=name if generator else "",
            source=inside,
            role="train",
            kind="music",
            name=inside,
        )


def _speech(folder: Path, role: sources.Role) -> Iterator[Sound]:
    for item in corpora.read(folder):
        if item.role == role:
            yield Sound(
                audio=item.make(),
                generator=item.generator,
                source=item.source,
                role=role,
                kind="speech",
                name=item.file,
            )


def _music(assets: Path, role: sources.Role, work: Path) -> Iterator[Sound]:
    for track in sources.music(assets, role, work=work):
        whole = load(track.paths[0])
        for number in range(EXCERPTS[role]):
            start = (number + 0.5) / EXCERPTS[role]
            yield Sound(
                audio=excerpt(whole, seconds=MUSIC_SECONDS, start=start),
                generator="",
                source=track.name,
                role=role,
                kind="music",
                name=f"{track.name}-{number}",
            )


def _copies(name: str, assets: Path, role: sources.Role, work: Path) -> Iterator[Sound]:
    for track in sources.music(assets, role, work=work):
        part = excerpt(load(track.paths[0]), seconds=_COPY_SECONDS, start=0.5)
        yield Sound(
            audio=SYNTHESIZERS[name].copy(part),
            generator=name,
            source=track.name,
            role=role,
            kind="music",
            name=f"{track.name}-copy",
        )


def _outputs(name: str, work: Path) -> Iterator[Sound]:
    model = load_model(name)
    prompts = prompts_of(PROMPT_SEEDS[: OUTPUTS[name]])
    requests = requests_for(prompts, seconds=OUTPUT_SECONDS, first_seed=PROMPT_SEEDS.start)
    made = generated(model, requests, folder=work / f"{name}-outputs")
    for number, generation in enumerate(made):
        yield Sound(
            audio=generation.audio,
            generator=name,
            source=f"prompt {number}",
            role="train",
            kind="music",
            name=f"{name} {number}",
        )


def _few(table: Table) -> npt.NDArray[np.bool_]:
    """Choose at most ``KEPT_WINDOWS`` of each piece of music that heads learn from."""
    seen: dict[tuple[str, str], int] = {}
    out = np.ones(len(table), dtype=bool)
    for row in np.flatnonzero((table.kind == "music") & (table.role == "train")):
        key = (str(table.name[row]), str(table.treatment[row]))
        seen[key] = seen.get(key, 0) + 1
        out[row] = seen[key] <= KEPT_WINDOWS
    return out


def _origin(name: str) -> str:
    if name in SYNTHESIZERS:
        made = SYNTHESIZERS[name]
        licenses = " and ".join(x for x in (made.tool_license, made.voice_license) if x)
        what = "copies of recordings" if made.kind == "copy" else "English sentences"
        return f"{what} by {name} ({licenses})"
    if name in OUTPUTS:
        return f"{OUTPUTS[name]} outputs of the shipped row {name}, prompts of their own"
    return f"music by {name}, from a folder"


def _card(table: Table) -> dict[str, object]:
    """Say what the real windows are of."""
    real = table.generator == ""
    rows = {}
    for role in ("train", "calibrate"):
        for kind in ("speech", "music"):
            chosen = real & (table.role == role) & (table.kind == kind)
            rows[f"{role} {kind}"] = {
                "windows": int(chosen.sum()),
                "sources": sorted(set(table.source[chosen].tolist())),
                "treatments": sorted(set(table.treatment[chosen].tolist())),
            }
    return {"real": rows, "watermarked": "one window in four, both classes", "seed": SEED}
