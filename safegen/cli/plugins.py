"""``safegen detectors add|calibrate|list|show|remove``: who is asked, what is an answer worth?"""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safegen.cli.options import config, emit, format_option, quiet_option

if TYPE_CHECKING:
    from detectors.synthetic.entries import Entry
    from detectors.synthetic.judging import GenericModel
    from safegen.evaluation.plugin import Figures, Heard
    from safegen.plugins import Plugin


@click.command("add")
@click.argument("name", metavar="NAME")
@click.option(
    "--model",
    "source",
    required=True,
    metavar="FOLDER|HUB",
    help="A folder of safetensors, or owner/name on the Hugging Face hub.",
)
@click.option("--revision", default="", metavar="COMMIT", help="On the hub: its 40 digits.")
@click.option(
    "--code",
    default="",
    metavar="MODULE:FUNCTION",
    help="For models that transformers does not know: a function of an installed package "
    "that builds the torch module. It runs with your rights.",
)
@click.option(
    "--synthetic-label",
    "synthetic",
    multiple=True,
    metavar="LABEL",
    help="An output that means synthetic, by its name in config.json; with --code by its "
    "number, from 0. May be repeated.",
)
@click.option(
    "--real-label", "real", multiple=True, metavar="LABEL", help="One that means real. Likewise."
)
@click.option("--sample-rate", type=int, required=True, metavar="HZ", help="Of the model.")
@click.option(
    "--crop",
    required=True,
    metavar="RULE",
    help="How four seconds become the model's length in samples: whole, repeat:N, pad:N, "
    "center:N or slide:N.",
)
@click.option(
    "--for",
    "sounds",
    type=click.Choice(["speech", "music", "both"]),
    required=True,
    help="What the model was trained on.",
)
@click.option("--license", "license_", required=True, metavar="SPDX", help="Of the weights.")
@click.option(
    "--accept-license",
    is_flag=True,
    help="I have read it, and my use is within it; needed for all but permissive ones.",
)
@click.option("--overwrite", is_flag=True, help="Replace a plug-in, and drop its calibration.")
@format_option
def add(
    name: str,
    source: str,
    revision: str,
    code: str,
    synthetic: tuple[str, ...],
    real: tuple[str, ...],
    sample_rate: int,
    crop: str,
    sounds: str,
    license_: str,
    accept_license: bool,
    overwrite: bool,
    format_: str,
) -> None:
    """Plug in the classifier NAME; it is asked once it is calibrated.

    The files are copied and hashed, and the model is tried once. Nothing is guessed: which
    labels mean synthetic says the model's card, not the names of the labels. Pickles are
    never read, code of a checkpoint never runs.

    \b
    Exit status:
      0  added
      1  the hub did not give the files
      2  a label, rate, crop or license is missing or wrong, or the files cannot be used

    \b
    Example:
      safegen detectors add my-model --model models/my-model/ --synthetic-label fake \\
        --real-label real --sample-rate 16000 --crop whole --for speech --license Apache-2.0
    """
    from detectors.errors import DetectorError
    from detectors.synthetic import plugins as description
    from safegen import plugins, roster
    from safegen.errors import InputError
    from safegen.recording import now

    try:
        rule = description.parse_crop(crop)
    except DetectorError as error:
        raise InputError(str(error), remedy="N is the model's length in samples.") from error
    roster.refuse_taken(config(), name)
    described = plugins.add(
        config(),
        description.Description(
            name=name,
            kind=description.TORCH if code else description.TRANSFORMERS,
            synthetic=synthetic,
            real=real,
            sample_rate=sample_rate,
            crop=rule,
            sounds=description.SOUNDS if sounds == "both" else (sounds,),
            license=license_.strip(),
            origin="",
            code=code,
            added=now().isoformat(),
        ),
        source=source,
        revision=revision,
        accept_license=accept_license,
        overwrite=overwrite,
    )
    text = (
        f"{name} is added, and not asked yet.\n"
        f"Run `safegen detectors calibrate {name} --real FOLDER --fake FOLDER`."
    )
    emit({**described.to_json(), "calibrated": False}, text, format_)


@click.command("calibrate")
@click.argument("name", metavar="NAME")
@click.option(
    "--real",
    required=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Real sound like the sound to be judged; a sub-folder for each speaker or album.",
)
@click.option(
    "--fake",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Synthetic sound; a sub-folder for each generator. Without it, only the share of real "
    "sound that scores as high is known.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True)
@quiet_option
@format_option
def calibrate(
    name: str, real: Path, fake: Path | None, jobs: int, quiet: bool, format_: str
) -> None:
    """Measure what the answers of plug-in NAME are worth on sound of yours.

    At least 30 real files from 5 sources, each of 4 seconds or longer, and 10 synthetic
    ones or none; some hundreds are better. Files that cannot be heard are named and left
    out. A stopped run goes on where it was.

    \b
    Exit status:
      0  calibrated
      1  the plug-in failed
      2  too few files, or the plug-in does not tell synthetic sound from real
      4  the plug-in is damaged

    \b
    Example:
      safegen detectors calibrate my-model --real recordings/ --fake fakes/ --jobs 4
    """
    from safegen import plugins, roster
    from safegen.evaluation import plugin as measuring
    from safegen.recording import now

    found = plugins.find(config(), name)
    files = measuring.plan(real, fake)
    heard = measuring.listen(found, files, reference=roster.shipped_roster().reference, jobs=jobs)
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(
        heard, length=len(files), label="Listening", file=sys.stderr, hidden=hidden
    ) as bar:
        answers = list(bar)
    left_out = [each for each in answers if each.left_out]
    if not quiet:
        for each in left_out:
            click.echo(f"left out: {each.file.path}: {each.left_out}", err=True)
    how = f"folder {real.resolve().name}" + (f", fakes {fake.resolve().name}" if fake else "")
    figures = measuring.finish(found, answers, how=how, at=now())
    row = {
        "name": name,
        "figures": [measuring.figures_json(each) for each in figures],
        "heard": len(answers) - len(left_out),
        "left_out": len(left_out),
        "others": _others(found, answers),
    }
    lines = [f"{name} is calibrated with {row['heard']} files, {len(left_out)} were left out"]
    if row["others"]:
        lines.append(f"  {row['others']} files sound like something it is not for: not used")
    for each_kind in figures:
        lines += _figure_lines(each_kind)
    emit(row, "\n".join(lines), format_)


@click.command("list")
@format_option
def list_command(format_: str) -> None:
    """List who is asked: entries of the generator registry, generic models, plug-ins.

    \b
    Exit status:
      0  done
      4  a file that was added is damaged

    \b
    Example:
      safegen detectors list --format jsonl
    """
    from safegen import plugins, roster

    shipped = roster.shipped_roster()
    rows = [_entry_row(entry, "shipped") for entry in shipped.entries]
    rows += [_entry_row(e, "added") for e in roster.added_generators(config(), shipped)]
    rows += [_plugin_row(plugin) for plugin in plugins.installed(config())]
    rows += [_generic_row(model) for model in shipped.generic]
    for row in rows:
        emit(row, _row_text(row), format_)


@click.command("show")
@click.argument("name", metavar="NAME")
@format_option
def show(name: str, format_: str) -> None:
    """Show all that is known of one entry, generic model or plug-in.

    \b
    Exit status:
      0  done
      2  nothing has this name
      4  it is damaged

    \b
    Example:
      safegen detectors show my-model
    """
    from safegen import plugins, roster
    from safegen.evaluation.plugin import figures_json

    shipped = roster.shipped_roster()
    added = roster.added_generators(config(), shipped)
    for entries, where in ((shipped.entries, "shipped"), (added, "added")):
        for entry in entries:
            if entry.name == name:
                more = {
                    "made": list(entry.made),
                    "spacings_hz": list(entry.spacings_hz),
                    "card": entry.card,
                    "sha256": entry.digest,
                }
                _emit_whole({**_entry_row(entry, where), **more}, [], format_)
                return
    for model in shipped.generic:
        if model.name == name:
            _emit_whole({**_generic_row(model), "model": model.model_id}, [], format_)
            return
    plugin = plugins.find(config(), name)
    figures = _figures(plugin)
    row = {
        **_plugin_row(plugin),
        **{k: v for k, v in plugin.description.to_json().items() if k not in ("kind", "name")},
        "figures": [figures_json(each) for each in figures],
    }
    _emit_whole(row, [line for each in figures for line in _figure_lines(each)], format_)


@click.command("remove")
@click.argument("name", metavar="NAME")
def remove(name: str) -> None:
    """Remove the plug-in or added generator NAME, with its calibration.

    \b
    Exit status:
      0  removed
      2  nothing that was added here has this name

    \b
    Example:
      safegen detectors remove my-model
    """
    from safegen import roster

    roster.remove(config(), name)
    click.echo(f"{name} is removed")


def _entry_row(entry: "Entry", where: str) -> dict[str, Any]:
    return {
        "name": entry.name,
        "layer": "generator",
        "kind": entry.family,
        "where": where,
        "own": entry.own,
        "sounds": [kind for kind in ("speech", "music") if kind in entry.made],
        "sample_rate": entry.sample_rate,
        "min_seconds": entry.min_seconds,
        "codecs": list(entry.codecs),
        "license": "",
        "calibrated": True,
        "figures": dict(entry.figures),
    }


def _generic_row(model: "GenericModel") -> dict[str, Any]:
    from detectors.synthetic.traces import SAMPLE_RATE, WINDOW_SECONDS

    kinds = {"speech": model.speech, "music": model.music}
    return {
        "name": model.name,
        "layer": "generic",
        "kind": "network",
        "where": "shipped",
        "own": False,
        "sounds": [kind for kind, found in kinds.items() if found is not None],
        "sample_rate": SAMPLE_RATE,
        "min_seconds": WINDOW_SECONDS,
        "codecs": [],
        "license": "",
        "calibrated": True,
        "figures": {},
    }


def _plugin_row(plugin: "Plugin") -> dict[str, Any]:
    from detectors.synthetic.traces import WINDOW_SECONDS

    described = plugin.description
    figures: dict[str, float] = {}
    for each in _figures(plugin):
        if each.separation is not None:
            figures[f"{each.kind} eer"] = round(each.separation.eer, 4)
            figures[f"{each.kind} auc"] = round(each.separation.auc, 4)
        figures[f"{each.kind} real"] = each.real
    return {
        "name": described.name,
        "layer": "plug-in",
        "kind": described.kind,
        "where": "added",
        "own": False,
        "sounds": list(described.sounds),
        "sample_rate": described.sample_rate,
        "min_seconds": WINDOW_SECONDS,
        "codecs": [],
        "license": described.license,
        "calibrated": bool(figures),
        "figures": figures,
    }


def _figures(plugin: "Plugin") -> "tuple[Figures, ...]":
    """Compute what a calibration says; nothing if there is none."""
    from detectors.errors import DetectorError
    from detectors.synthetic import plugin_scores
    from safegen.evaluation.plugin import figures
    from safegen.plugins import CALIBRATION, damaged

    if plugin.calibration is None:
        return ()
    try:
        scores = plugin_scores.parse(plugin.calibration)
        plugin_scores.refuse_other(plugin.description, scores)
    except DetectorError as error:
        raise damaged(plugin.folder / CALIBRATION, plugin.folder.name, error) from error
    return figures(scores, plugin.description.sounds)


def _others(plugin: "Plugin", heard: "list[Heard]") -> int:
    """Count the files of a kind of sound that a plug-in is not for."""
    kinds = ["speech" if h.sound.speech else "music" for h in heard if h.sound is not None]
    return sum(kind not in plugin.description.sounds for kind in kinds)


def _row_text(row: dict[str, Any]) -> str:
    facts = [
        f"{row['layer']} {row['kind']}",
        "own" if row["own"] else row["where"],
        "+".join(row["sounds"]),
        f"{row['sample_rate']} Hz",
        f"from {row['min_seconds']:g} s",
        "codecs " + "+".join(row["codecs"]) if row["codecs"] else "",
        " ".join(f"{name}={value:g}" for name, value in row["figures"].items()),
        row["license"],
        "" if row["calibrated"] else "NOT CALIBRATED, not asked",
    ]
    return f"{row['name']}: " + ", ".join(fact for fact in facts if fact)


def _emit_whole(row: dict[str, Any], lines: list[str], format_: str) -> None:
    text = [f"{name:16}{_value_text(value)}" for name, value in row.items() if name != "figures"]
    if not lines:
        lines = [f"figures         {_value_text(row['figures'])}"] if row["figures"] else []
    emit(row, "\n".join([*text, *lines]), format_)


def _value_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value != "" else "-"


def _figure_lines(found: "Figures") -> list[str]:
    from detectors.synthetic.calibration import LEAST_SYNTHETIC
    from detectors.synthetic.judging import LIKELY_P
    from safegen.evaluation.metrics import between, percent
    from safegen.evaluation.plugin import QUANTILES

    quantiles = ", ".join(
        f"{100 * q:g} % {value:.3g}" for q, value in zip(QUANTILES, found.quantiles, strict=True)
    )
    lines = [
        f"{found.kind}: {found.real} real files of {found.real_sources} sources, "
        f"{found.fake} synthetic of {found.fake_sources}; yardsticks for "
        f"{', '.join(f'{s:g}' for s in found.seconds)} s",
        f"  scores of real sound: {quantiles}; smallest p-value {found.least_p_value:.4f}",
    ]
    if found.least_p_value > LIKELY_P:
        lines.append(
            f"  too few to call anything synthetic: that takes a p-value of {LIKELY_P:g}, which "
            f"{math.ceil(1 / LIKELY_P) - 1} real files of {found.kind} can give"
        )
    if found.separation is not None:
        s = found.separation
        lines.append(
            f"  EER {100 * s.eer:.1f} % ({100 * s.eer_low:.1f}–{100 * s.eer_high:.1f} %), "
            f"AUC {s.auc:.3f} ({s.auc_low:.3f}–{s.auc_high:.3f}), sources drawn anew"
        )
    elif found.fake:
        lines.append(
            f"  {found.fake} synthetic files are too few to use, at least {LEAST_SYNTHETIC}"
        )
    for each in found.thresholds:
        hits = (
            ""
            if each.found is None
            else (f", {percent(each.found)} of synthetic found ({between(each.found)})")
        )
        alarms = (
            "too few sources to count false alarms"
            if each.alarms is None
            else f"{percent(each.alarms)} false alarms on other sources ({between(each.alarms)})"
        )
        lines.append(f"  p <= {each.p_value:g}: {alarms}{hits}")
    return lines
