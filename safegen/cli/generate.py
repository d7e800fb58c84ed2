"""``safegen generate``: text to released audio."""

import contextlib
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from safegen.cli.asking import chapter_option, load_sounds, request_of, sound_options
from safegen.cli.generating import Way, grouped
from safegen.cli.hearing import PIPE, Hearing
from safegen.cli.options import (
    config,
    emit,
    format_option,
    gate_options,
    place_text,
    quiet_option,
)
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.audio import FileFormat
    from safegen.recording import Release

MAX_SEED = 2**63


@click.command()
@click.argument("prompt", required=False, default="")
@click.option(
    "--model",
    "model_name",
    default="music-flow",
    show_default=True,
    metavar="NAME|FOLDER",
    help="One that `safegen models list` names, or the folder of a public checkpoint.",
)
@click.option(
    "--seconds",
    type=float,
    metavar="S",
    help="Length of the result. Default: 10; with --source its length; with --continue-from "
    "or --chapter 10 after the beginning or the last start.",
)
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED - 1), help="Default: a random one, printed."
)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Number of items, with --prompts of each line; item i has seed + i and the same bits "
    "as alone.",
)
@click.option("--negative-prompt", default="", help="What to steer away from.")
@click.option(
    "--prompts",
    "prompts_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="One prompt a line instead of PROMPT; .csv and .jsonl may also name seconds, seed and "
    "negative_prompt of each.",
)
@sound_options
@click.option(
    "--strength",
    type=float,
    metavar="X",
    help="How much of the source is made anew, above 0 to 1. Default: 0.6 if all of it is "
    "varied, else 1.",
)
@click.option(
    "--inpaint",
    "inpaint_texts",
    multiple=True,
    metavar="START-END",
    help="Stretch of the source that is made anew, in seconds or minutes:seconds; repeatable. "
    "The rest is kept.",
)
@chapter_option
@click.option(
    "--resume",
    is_flag=True,
    help="Skip what was released into DIR before: same model, request and seed.",
)
@click.option(
    "--keep-request/--no-keep-request",
    "is_kept",
    default=True,
    show_default=True,
    help="Keep prompt and input sounds in the private state folder for `safegen replay`; the "
    "record has only hashes.",
)
@click.option(
    "--stream",
    "stream_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Hear the sound while it is made: write it to FILE (WAV, or a named pipe) as it leaves "
    "the gate; - is stdout, and results go to stderr. One item.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Items that are made together, where the model can; each has the bits it has alone.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto is a GPU for public checkpoints, where there is one, and the CPU for what ships.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of public checkpoints; auto is float32 on the CPU and bfloat16 on a GPU.",
)
@click.option(
    "--accept-license",
    is_flag=True,
    help="Accept the license of a model in a folder; of an installed one it was accepted then.",
)
@gate_options
@format_option
@quiet_option
def generate(
    prompt: str,
    policy_name: str,
    model_name: str,
    seconds: float | None,
    seed: int | None,
    count: int,
    negative_prompt: str,
    prompts_file: Path | None,
    melody_file: Path | None,
    continue_file: Path | None,
    source_file: Path | None,
    strength: float | None,
    inpaint_texts: tuple[str, ...],
    chapter_texts: tuple[str, ...],
    resume: bool,
    is_kept: bool,
    scan_name: str,
    file_format: str,
    stream_file: Path | None,
    batch: int,
    device: str,
    precision: str,
    accept_license: bool,
    out: Path,
    format_: str,
    quiet: bool,
) -> None:
    """Generate audio from PROMPT and release it through the gate.

    PROMPT may be left out where a file of prompts, a story or a sound says what is
    wanted; `safegen models show NAME` tells which of them a model takes. Everything is
    checked before the first item is made. Refused outputs are logged and never written
    to DIR; the reason is printed.

    \b
    Exit status:
      0  every item was released
      1  something failed; nothing unlogged was written
      2  bad arguments
      3  the policy refused at least one item
      4  a file of weights is not the one that the model's card names

    \b
    Example:
      safegen generate "a calm piano piece in A minor, 80 bpm, no drums" --out out/
      safegen generate "a fast rock song" --seconds 60 --stream - --out out/ | ffplay -
    """
    from safegen.gate import Gate
    from safegen.generation.batches import Line, check_lines, items, read_lines
    from safegen.generation.known import usable
    from safegen.generation.requests import check
    from safegen.generation.systems import device_of, load, precision_of
    from safegen.matching import Scan
    from safegen.resuming import Earlier

    if prompts_file is not None and (prompt or chapter_texts):
        raise InputError("--prompts beside PROMPT or --chapter", remedy="Say once what is wanted.")
    lines = (Line(number=1, prompt=prompt),) if prompts_file is None else read_lines(prompts_file)
    if resume and seed is None and any(line.seed is None for line in lines):
        raise InputError(
            "--resume without --seed: nothing was made with a new random one",
            remedy="Name the seed that was printed with the first item.",
        )
    total = count * len(lines)
    if stream_file is not None and (total > 1 or resume):
        raise InputError(
            f"--stream with {total} items" if total > 1 else "--stream with --resume",
            remedy="One item can be heard at a time: leave the other options out.",
        )
    if stream_file is not None and stream_file.resolve().is_relative_to(out.resolve()):
        raise InputError(
            f"--stream {stream_file} is in --out, where only released files are",
            remedy="Name a file in another folder: what is heard may still be refused.",
        )
    first = secrets.randbelow(MAX_SEED - total) if seed is None else seed
    if first + total > MAX_SEED:
        raise InputError(f"seed {first} + count {total} is beyond {MAX_SEED}", remedy="Lower it.")
    settings = config()
    accepted = datetime.now(UTC).date().isoformat() if accept_license else ""
    found = usable(model_name, models=settings.models, accepted=accepted)
    where = device_of(found, device)
    template = request_of(
        prompt=prompt,
        negative_prompt=negative_prompt,
        seconds=seconds,
        seed=first,
        sounds=load_sounds(
            melody=melody_file,
            continue_from=continue_file,
            source=source_file,
            max_seconds=found.card.longest_seconds,
        ),
        strength=strength,
        inpaint_texts=inpaint_texts,
        chapter_texts=chapter_texts,
    )
    if prompts_file is None:
        check(template, found.card)
    else:
        check_lines(template, lines, found.card, path=prompts_file, count=count)

    hidden = quiet or not sys.stderr.isatty()
    is_piped = stream_file == PIPE
    with contextlib.ExitStack() as stack:
        hearing = None if stream_file is None else stack.enter_context(Hearing(stream_file))
        gate = Gate.open(policy_name=policy_name, scan=Scan(scan_name))
        stack.callback(gate.close)
        way = Way(
            gate=gate,
            generator=load(
                model_name,
                device=device,
                precision=precision,
                models=settings.models,
                accepted=accepted,
            ),
            out=out,
            file_format=cast("FileFormat", file_format),
            device=where,
            precision=precision_of(precision, where) if found.checkpoint else "float32",
            keep_in=settings.requests if is_kept else None,
            input_files={
                kind: path
                for kind, path in (
                    ("melody", melody_file),
                    ("continue_from", continue_file),
                    ("source", source_file),
                )
                if path is not None
            },
        )
        earlier = Earlier(gate.database, gate.salt, out, file_format) if resume else None
        refused, done, skipped = False, 0, 0
        bar = stack.enter_context(
            click.progressbar(
                length=total * 100, label="Generating", file=sys.stderr, hidden=hidden
            )
        )

        def advance(share: float) -> None:
            """Draw the bar: what is whole, and the share of what is being made."""
            bar.update(max(0, int(100 * (done + 0.95 * share * len(group))) - bar.pos))

        for group in grouped(items(template, lines, count=count, first_seed=first), batch):
            wanted = [
                item
                for item in group
                if earlier is None or not earlier.has(item.request, way.generator.facts)
            ]
            skipped += len(group) - len(wanted)
            bar.label = f"Generating {min(total, done + len(group))}/{total}"
            releases = (
                way.made(wanted, advance)
                if hearing is None
                else [way.heard(item, hearing, advance) for item in wanted]
            )
            done += len(group)
            bar.update(max(0, 100 * done - bar.pos))
            if not hidden:
                click.echo("\r\033[K", nl=False, err=True)
            for item, release in zip(wanted, releases, strict=True):
                refused |= not release.is_released
                row = {**release.to_json(), "item": item.number}
                emit(row, text_of(release), format_, err=is_piped)
    if skipped:
        click.echo(f"{skipped} of {total} items were released before.", err=True)
    raise SystemExit(3 if refused else 0)


def text_of(release: "Release") -> str:
    """Write one result for people: what happened, why, and where the evidence is."""
    from safegen.policy import p_text

    item, finished = release.item, release.finished
    rows: list[tuple[str, str]] = []
    if finished is not None:
        mark = finished.mark
        rows += [
            ("file", str(finished.path)),
            ("sha256", finished.sha256),
            (
                "watermark",
                f"{finished.payload:016x}" + (f", p {p_text(mark.p_value)}" if mark else ""),
            ),
            ("c2pa", finished.c2pa_state),
        ]
    if item.seed is not None:
        rows.append(("model", f"{item.facts.name}, seed {item.seed}, {item.seconds:g} s"))
    if release.stream is not None and finished is None:
        rows.append(("heard", f"{release.stream.emitted_seconds:.1f} s had left before"))
    checks = ", ".join(f"{c.name} {c.outcome.value}" for c in release.judgement.checks)
    rows += [("checks", checks), ("record", item.record_id)]
    rows.append(("log", f"entry {release.position} of {release.tree_size}"))
    head = (
        "released" if finished is not None else f"{release.judgement.decision.action}: not released"
    )
    reasons = [
        f"  {reason.rule:9} {reason.problem} ({reason.check}: {reason.action})"
        for reason in release.judgement.decision.reasons
    ]
    quotes = [
        f"  quotes    {m.title} ({m.rights_holder}): {place_text(m.to_json())}"
        for m in release.judgement.matches
    ]
    return "\n".join([head, *reasons, *quotes, *(f"  {name:9} {value}" for name, value in rows)])
