"""Every attack with the strength that its name promises; benchmarks choose rows by name.

The union of the kinds of three published suites (AudioSeal's examples/attacks.py,
AudioMarkBench, RAW-Bench), with MP3, AAC, Opus and Vorbis at the rates in use.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from safegen.audio import Audio
from safegen.evaluation.attacks import codecs, filters, level, noise, time, vocoders
from safegen.evaluation.attacks.base import Attack, Companion, Kind


def _codec(series: str, codec: str, rates: Iterable[int]) -> list[Attack]:
    return [
        Attack(
            name=f"{codec}-{rate}k",
            kind=Kind.CODEC,
            series=series,
            strength=rate,
            unit="kbit/s",
            description=f"{series}, {rate} kbit/s in all",
            function=partial(codecs.through_codec, codec=codec, bitrate=1000 * rate),
        )
        for rate in rates
    ]


def _row(
    kind: Kind,
    name: str,
    series: str,
    function: Callable[..., Audio],
    description: str,
    *,
    strength: float = 0.0,
    unit: str = "",
    companion: Companion = Companion.NONE,
    keeps_length: bool = True,
) -> Attack:
    return Attack(
        name=name,
        kind=kind,
        series=series,
        strength=strength,
        unit=unit,
        description=description,
        function=function,
        companion=companion,
        keeps_length=keeps_length,
    )


def _codecs() -> list[Attack]:
    return [
        *_codec("MP3", "mp3", (128, 64, 32)),
        *_codec("AAC", "aac", (64, 32)),
        *_codec("Opus", "opus", (64, 32, 16)),
        *(
            _row(
                Kind.CODEC,
                f"vorbis-q{quality}",
                "Vorbis",
                partial(codecs.through_vorbis, quality=quality / 10),
                f"Ogg Vorbis, quality {quality}",
                strength=quality,
                unit="quality",
            )
            for quality in (5, 3, 1)
        ),
        _row(
            Kind.CODEC,
            "opus-12k-mono",
            "Opus, mono",
            partial(codecs.through_mono_codec, codec="opus", bitrate=12_000),
            "Opus, mixed to mono, 12 kbit/s",
            strength=12,
            unit="kbit/s",
        ),
    ]


def _noises() -> list[Attack]:
    found = [
        _row(
            Kind.NOISE,
            f"{prefix}-{snr}db",
            series,
            partial(function, snr_db=float(snr)),
            f"{series} {snr} dB below the sound",
            strength=snr,
            unit="dB SNR",
        )
        for prefix, series, function, levels in (
            ("noise", "white noise", noise.white_noise, (40, 30, 20, 10, 0)),
            ("pink", "pink noise", noise.pink_noise, (30, 20)),
        )
        for snr in levels
    ]
    mixes = [
        _row(
            kind,
            f"{prefix}-{snr}db",
            series,
            partial(noise.mix, snr_db=float(snr)),
            f"mixed with {series} {snr} dB below the sound" if snr else f"{series}, equally loud",
            strength=snr,
            unit="dB SNR",
            companion=companion,
        )
        for kind, prefix, series, companion, levels in (
            (Kind.NOISE, "babble", "babble", Companion.BABBLE, (20, 10)),
            (Kind.MIX, "music", "music", Companion.MUSIC, (10, 0)),
        )
        for snr in levels
    ]
    spoken = [
        _row(
            Kind.MIX,
            f"under-speech-{-snr}db",
            "under speech",
            partial(noise.under, snr_db=float(snr)),
            f"under speech {-snr} dB louder" if snr else "under speech, equally loud",
            strength=snr,
            unit="dB SNR",
            companion=Companion.SPEECH,
        )
        for snr in (0, -6, -12)
    ]
    spliced = _row(
        Kind.MIX,
        "splice-4s",
        "splice",
        partial(noise.splice, seconds=4.0, total_seconds=12.0),
        "4 s of it in the middle of 12 s of another sound",
        strength=4.0,
        unit="s",
        companion=Companion.NEIGHBOR,
        keeps_length=False,
    )
    return [*found, *mixes, *spoken, spliced]


def _filters() -> list[Attack]:
    return [
        *(
            _row(
                Kind.FILTER,
                f"lowpass-{cutoff}",
                "low-pass",
                partial(filters.low_pass, cutoff_hz=float(cutoff)),
                f"nothing above {cutoff} Hz",
                strength=cutoff,
                unit="Hz",
            )
            for cutoff in (5000, 4000, 3500, 2000, 1500)
        ),
        *(
            _row(
                Kind.FILTER,
                f"highpass-{cutoff}",
                "high-pass",
                partial(filters.high_pass, cutoff_hz=float(cutoff)),
                f"nothing below {cutoff} Hz",
                strength=cutoff,
                unit="Hz",
            )
            for cutoff in (250, 500, 1000)
        ),
        *(
            _row(
                Kind.FILTER,
                f"bandpass-{low}-{high}",
                "band-pass",
                partial(filters.band_pass, low_hz=float(low), high_hz=float(high)),
                f"only {low} to {high} Hz",
                strength=high - low,
                unit="Hz",
            )
            for low, high in ((500, 5000), (300, 3400))
        ),
        *(
            _row(
                Kind.FILTER,
                f"smooth-{microseconds}us",
                "smooth",
                partial(filters.smooth, width_seconds=microseconds * 1e-6),
                f"mean over {microseconds} microseconds",
                strength=microseconds,
                unit="µs",
            )
            for microseconds in (190, 310)
        ),
        *(
            _row(
                Kind.FILTER,
                f"resample-{rate // 1000}k",
                "resample",
                partial(filters.resample_round_trip, sample_rate=rate),
                f"to {rate} Hz and back",
                strength=rate,
                unit="Hz",
            )
            for rate in (22_050, 16_000, 8_000)
        ),
        *(
            _row(
                Kind.FILTER,
                f"tilt{slope:+d}",
                "tilt",
                partial(filters.tilt, db_per_octave=float(slope)),
                f"equalizer, {slope:+d} dB an octave from 1 kHz",
                strength=slope,
                unit="dB/octave",
            )
            for slope in (-3, 3)
        ),
        *(
            _row(
                Kind.FILTER,
                f"eq-{most}db",
                "random equalizer",
                partial(filters.random_equalizer, level_db=float(most)),
                f"each octave up or down by at most {most} dB",
                strength=most,
                unit="dB",
            )
            for most in (6, 12)
        ),
        _row(
            Kind.FILTER,
            "shelves-8db",
            "shelves",
            partial(filters.shelves, level_db=8.0),
            "bass turned up by 8 dB, treble down by 8 dB",
            strength=8,
            unit="dB",
        ),
        _row(
            Kind.FILTER,
            "phase-90",
            "phase shift",
            partial(filters.phase_shift, degrees=90.0),
            "every phase turned by 90 degrees",
            strength=90.0,
            unit="degrees",
        ),
        _row(
            Kind.FILTER,
            "allpass-8",
            "all-pass",
            partial(filters.all_pass, stages=8),
            "8 all-pass filters, 200 Hz to 4 kHz",
            strength=8,
            unit="stages",
        ),
        _row(
            Kind.FILTER,
            "echo",
            "echo",
            partial(filters.echo, delay_seconds=0.1, level=0.3),
            "one echo after 100 ms, at 0.3",
            strength=0.3,
            unit="level",
        ),
        _row(
            Kind.FILTER,
            "echo-50",
            "echo",
            partial(filters.echo, delay_seconds=0.25, level=0.5),
            "one echo after 250 ms, at 0.5",
            strength=0.5,
            unit="level",
        ),
        *(
            _row(
                Kind.FILTER,
                f"reverb-{rt60:g}s",
                "reverb",
                partial(filters.reverb, rt60_seconds=rt60, direct_db=0.0),
                f"room that decays by 60 dB in {rt60:g} s, as loud as the direct sound",
                strength=rt60,
                unit="s RT60",
            )
            for rt60 in (0.3, 0.8)
        ),
        *(
            _row(
                Kind.FILTER,
                f"rerecord-{where}",
                "re-recording",
                partial(filters.re_record, rt60_seconds=rt60, snr_db=snr),
                f"speaker, room of {rt60:g} s, noise at {snr:g} dB, phone, level control",
                strength=snr,
                unit="dB SNR",
            )
            for where, rt60, snr in (("near", 0.2, 30.0), ("far", 0.5, 20.0))
        ),
        _row(
            Kind.FILTER,
            "denoise",
            "denoise",
            partial(filters.denoise, level_db=20.0),
            "spectral gate, 20 dB under each band's floor",
            strength=20.0,
            unit="dB",
        ),
    ]


def _levels() -> list[Attack]:
    return [
        *(
            _row(
                Kind.LEVEL,
                name,
                "gain",
                partial(level.gain, level_db=change),
                f"{change:+.1f} dB{', clipped at full scale' if change > 0 else ''}",
                strength=change,
                unit="dB",
            )
            for name, change in (
                ("boost-6db", 6.0),
                ("boost-20pct", 1.5836),
                ("duck-20pct", -1.9382),
                ("gain-12db", -12.0),
                ("gain-24db", -24.0),
            )
        ),
        _row(Kind.LEVEL, "invert", "polarity", level.invert, "polarity flipped"),
        *(
            _row(
                Kind.LEVEL,
                f"pcm-{bits}",
                "quantization",
                partial(level.quantize, bits=bits),
                f"{bits} bits a sample",
                strength=bits,
                unit="bits",
            )
            for bits in (16, 12, 8)
        ),
        _row(
            Kind.LEVEL,
            "compand",
            "compand",
            partial(level.compand, bits=8),
            "mu-law of telephony, 8 bits",
            strength=8,
            unit="bits",
        ),
        _row(
            Kind.LEVEL,
            "compress",
            "power law",
            partial(level.compress, exponent=0.6),
            "power law of 0.6 on the envelope",
            strength=0.6,
            unit="exponent",
        ),
        _row(
            Kind.LEVEL,
            "compressor-4",
            "compressor",
            partial(level.compressor, ratio=4.0),
            "4 : 1 from 10 dB under the mean level on",
            strength=4.0,
            unit="ratio",
        ),
        _row(
            Kind.LEVEL,
            "expander-2",
            "expander",
            partial(level.expander, ratio=2.0),
            "1 : 2 below the mean level",
            strength=2.0,
            unit="ratio",
        ),
        _row(
            Kind.LEVEL,
            "limiter-9db",
            "limiter",
            partial(level.limiter, drive_db=9.0),
            "driven 9 dB into a limiter",
            strength=9.0,
            unit="dB",
        ),
    ]


def _cuts() -> list[Attack]:
    moves = partial(_row, Kind.TIME, keeps_length=False)
    return [
        moves(
            "crop-5s",
            "crop",
            partial(time.crop_to, seconds=5.0),
            "5 s from somewhere",
            strength=5.0,
            unit="s",
        ),
        moves(
            "crop-half",
            "crop to a share",
            partial(time.crop, start=0.25, end=0.75),
            "the middle half",
            strength=50,
            unit="%",
        ),
        moves(
            "crop-10pct",
            "crop to a share",
            partial(time.crop, start=0.45, end=0.55),
            "the middle tenth",
            strength=10,
            unit="%",
        ),
        moves(
            "cut-1s",
            "cut the start",
            partial(time.cut_start, seconds=1.003),
            "without its first 1.003 s",
            strength=1.003,
            unit="s",
        ),
        moves(
            "cut-middle-1s",
            "cut the middle",
            partial(time.cut_middle, seconds=1.003),
            "1.003 s cut out of the middle",
            strength=1.003,
            unit="s",
        ),
        _row(
            Kind.TIME,
            "shuffle-500ms",
            "shuffle",
            partial(time.shuffle, seconds=0.5),
            "pieces of 0.5 s in another order",
            strength=0.5,
            unit="s",
        ),
        _row(
            Kind.TIME,
            "shush-30",
            "silenced start",
            partial(time.shush, share=0.3),
            "the first 30 % silent",
            strength=30,
            unit="%",
        ),
        _row(
            Kind.TIME,
            "jitter",
            "sample jitter",
            partial(time.jitter, samples=0.2),
            "each sample off by 0.2 of its time",
            strength=0.2,
            unit="samples",
        ),
        moves(
            "drop-1in1000",
            "dropped samples",
            partial(time.drop_samples, share=0.001),
            "one sample of 1000 left out",
            strength=0.1,
            unit="%",
        ),
    ]


def _paces() -> list[Attack]:
    return [
        *(
            _row(
                Kind.TIME,
                f"{word}-{factor:.2f}{suffix}",
                series,
                partial(function, factor=factor),
                f"{series}, factor {factor:.2f}",
                strength=factor,
                unit="factor",
                keeps_length=False,
            )
            for word, suffix, series, function, factors in (
                ("speed", "", "speed", time.speed, _SPEEDS),
                ("tempo", "", "tempo (atempo)", time.tempo, _FINE_TEMPOS),
                ("tempo", "-vocoder", "tempo (phase vocoder)", time.vocoder_tempo, _TEMPOS),
            )
            for factor in factors
        ),
        *(
            _row(
                Kind.TIME,
                f"pitch{semitones:+d}{suffix}",
                series,
                partial(function, semitones=float(semitones)),
                f"{series}, {semitones:+d} semitones",
                strength=semitones,
                unit="semitones",
            )
            for suffix, series, function in (
                ("", "pitch (atempo)", time.pitch),
                ("-vocoder", "pitch (phase vocoder)", time.vocoder_pitch),
            )
            for semitones in (-2, -1, 1, 2)
        ),
        *(
            _row(
                Kind.TIME,
                f"pitch{cents:+d}c",
                "pitch (atempo)",
                partial(time.pitch, semitones=cents / 100),
                f"pitch (atempo), {cents:+d} cents",
                strength=cents / 100,
                unit="semitones",
            )
            for cents in (-50, -25, 25, 50)
        ),
    ]


def _vocoders() -> list[Attack]:
    return [
        _row(
            Kind.VOCODER,
            "griffin-lim",
            "Griffin-Lim",
            partial(vocoders.griffin_lim, rounds=32),
            "phases thrown away and found anew in 32 rounds",
            strength=32,
            unit="rounds",
        ),
        *(
            _row(
                Kind.VOCODER,
                f"mel-{bands}",
                "mel",
                partial(vocoders.mel, bands=bands, rounds=32),
                f"only {bands} mel bands kept, phases found anew",
                strength=bands,
                unit="bands",
            )
            for bands in (160, 80)
        ),
    ]


_SPEEDS: Final = (0.90, 0.93, 0.95, 0.96, 0.98, 0.99, 1.01, 1.02, 1.04, 1.05, 1.10)
_TEMPOS: Final = (0.90, 0.95, 0.98, 1.02, 1.05, 1.10)
_FINE_TEMPOS: Final = tuple(sorted({*_TEMPOS, 0.96, 0.99, 1.01, 1.04}))

ATTACKS: Final[Mapping[str, Attack]] = {
    attack.name: attack
    for attack in [
        _row(Kind.NONE, "clean", "clean", lambda audio: audio, "as it is"),
        *_codecs(),
        *_noises(),
        *_filters(),
        *_levels(),
        *_cuts(),
        *_paces(),
        *_vocoders(),
    ]
}
"""Name -> attack, in the order in which reports show them."""
