"""``safegen detectors register``: teach the classifier one more generator."""

import sys
from pathlib import Path

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError


@click.command("register")
@click.argument("name", metavar="NAME")
@click.option(
    "--from",
    "outputs",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What the generator made. Files in one sub-folder (a voice, a session) stay together.",
)
@click.option(
    "--through",
    "synthesizer",
    metavar="SYNTHESIZER",
    help="Instead of --from: pass recordings through world, griffin-lim, hifigan or codec.",
)
@click.option(
    "--recordings",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Real sound for --through.",
)
@click.option("--family", default="other", show_default=True, help="See `detectors list`.")
@click.option("--sample-rate", type=click.IntRange(8_000), help="Of the generator, in Hz.")
@click.option(
    "--spacing",
    "spacings",
    type=click.FloatRange(20.0, 2_000.0),
    multiple=True,
    metavar="HZ",
    help="A comb of its decoder: sample rate over stride. May be repeated.",
)
@click.option(
    "--min-seconds",
    type=click.Choice(["4", "8", "20"]),
    default="4",
    show_default=True,
    help="Shorter sound is not judged.",
)
@click.option(
    "--by-comb",
    is_flag=True,
    help="Fit nothing, let the combs of --spacing answer: for less than a dozen outputs.",
)
@click.option("--count", type=click.IntRange(6), default=200, show_default=True, help="Recordings.")
@click.option("--overwrite", is_flag=True, help="Replace an entry of this name.")
@quiet_option
@format_option
def register(
    name: str,
    outputs: Path | None,
    synthesizer: str | None,
    recordings: Path | None,
    family: str,
    sample_rate: int | None,
    spacings: tuple[float, ...],
    min_seconds: str,
    by_comb: bool,
    count: int,
    overwrite: bool,
    quiet: bool,
    format_: str,
) -> None:
    """Add the generator NAME to the registry, from what it made.

    Two dozen files of ten seconds are a start, a hundred are better; they are heard as
    they are, after MP3, AAC and Opus, and partly watermarked, against the real windows
    that ship. A third of them is set aside, and the entry says how well it tells those.

    \b
    Exit status:
      0  registered
      1  could not
      2  too few outputs, a bad name, or the name is taken

    \b
    Example:
      safegen detectors register my-tts --from outputs/ --family neural-tts
      safegen detectors register my-world --through world --recordings speech/
    """
    from detectors.errors import DetectorError
    from detectors.synthetic.entries import FAMILIES, NAME
    from safegen import plugins
    from safegen.roster import generator_file, shipped_roster, write_generator
    from safegen.training.heads import Facts
    from safegen.training.register import from_copies, from_folder
    from safegen.training.register import register as learn
    from safegen.training.synthesizers import SYNTHESIZERS

    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a generator",
            remedy="Use lower-case letters, digits, '.' and '-', at most 48.",
        )
    if family not in FAMILIES:
        raise InputError(f"unknown family {family!r}", remedy=f"One of {', '.join(FAMILIES)}.")
    if (outputs is None) == (synthesizer is None):
        raise InputError("say where the outputs come from", remedy="Use --from or --through.")
    if by_comb and not spacings:
        raise InputError("--by-comb needs the spacing of a comb", remedy="Name it: --spacing HZ.")
    if outputs is not None and recordings is not None:
        raise InputError("--recordings belongs to --through", remedy="Leave it out.")
    target = generator_file(config(), name)
    if target.exists() and not overwrite:
        raise InputError(f"{name} is registered already", remedy="Say --overwrite to replace it.")
    roster = shipped_roster()
    if any(entry.name == name for entry in roster.entries):
        raise InputError(f"{name} is the name of a shipped entry", remedy="Choose another.")
    if any(plugin.folder.name == name for plugin in plugins.installed(config())):
        raise InputError(f"{name} is the name of a plug-in", remedy="Choose another.")

    def note(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    if outputs is not None:
        sounds = from_folder(name, outputs, note=note)
        origin = f"outputs in a folder {outputs.name}"
    else:
        made = SYNTHESIZERS.get(synthesizer or "")
        if made is None or made.kind != "copy":
            known = ", ".join(s.name for s in SYNTHESIZERS.values() if s.kind == "copy")
            raise InputError(f"nothing copies by {synthesizer!r}", remedy=f"One of {known}.")
        if recordings is None:
            raise InputError("--through needs sound to copy", remedy="Name it: --recordings.")
        made.check()
        family = made.family if family == "other" else family
        sounds = from_copies(name, recordings, made.copy, count=count)
        origin = f"copies of recordings in a folder {recordings.name} by {synthesizer}"
    facts = Facts(
        name=name,
        family=family,
        own=False,
        sample_rate=sample_rate or 0,
        spacings_hz=spacings,
        min_seconds=float(min_seconds),
        card=origin,
    )
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(sounds, label="Listening", file=sys.stderr, hidden=hidden) as bar:
        try:
            result = learn(facts, bar, roster.reference, by_comb=by_comb)
        except DetectorError as error:
            raise InputError(
                f"{name}: {error}", remedy="Give more outputs, or try --by-comb with --spacing."
            ) from error
    write_generator(config(), result.entry)
    hint = result.hint
    row = {
        "name": name,
        "file": str(target),
        "family": family,
        "windows": result.windows,
        "speech_share": round(result.speech_share, 3),
        "figures": dict(result.entry.figures),
        "codecs": list(result.entry.codecs),
        "hint": None
        if hint is None
        else {
            "spacing_hz": round(hint.spacing_hz, 2),
            "z": round(hint.z, 1),
            "reading": hint.reading,
        },
    }
    lines = [f"{name} is registered: {result.windows} windows of four seconds"]
    lines += [f"  {key}: {value:g}" for key, value in result.entry.figures.items()]
    if hint is not None:
        lines.append(
            f"  its outputs share lines every {hint.spacing_hz:.1f} Hz (z {hint.z:.1f})"
            + (f", as of {hint.reading}" if hint.reading else "")
        )
    emit(row, "\n".join(lines), format_)
