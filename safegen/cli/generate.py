"""``safegen generate``: text to released audio."""

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.options import emit, format_option, gate_options, place_text, quiet_option
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.recording import Release

MAX_SEED = 2**63


@click.command()
@click.argument("prompt")
@click.option("--model", "model_name", default="music-flow", show_default=True, metavar="NAME")
@click.option(
    "--seconds", type=click.FloatRange(1.0, 95.0), default=10.0, show_default=True, metavar="S"
)
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED - 1), help="Default: a random one, printed."
)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Number of items; item i has seed + i and the same bits as alone.",
)
@click.option("--negative-prompt", default="", help="What to steer away from.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
)
@gate_options
@format_option
@quiet_option
def generate(
    prompt: str,
    policy_name: str,
    model_name: str,
    seconds: float,
    seed: int | None,
    count: int,
    negative_prompt: str,
    scan_name: str,
    file_format: str,
    device: str,
    out: Path,
    format_: str,
    quiet: bool,
) -> None:
    """Generate audio from PROMPT and release it through the gate.

    Refused outputs are logged and never written to DIR; the reason is printed.

    \b
    Exit status:
      0  every item was released
      1  something failed; nothing unlogged was written
      2  bad arguments
      3  the policy refused at least one item

    \b
    Example:
      safegen generate "a calm piano piece in A minor, 80 bpm, no drums" --out out/
    """
    from safegen.gate import Gate
    from safegen.generation.base import Request
    from safegen.generation.systems import load
    from safegen.matching import Scan

    first = secrets.randbelow(MAX_SEED - count) if seed is None else seed
    if first + count > MAX_SEED:
        raise InputError(f"seed {first} + count {count} is beyond {MAX_SEED}", remedy="Lower it.")
    gate = Gate.open(policy_name=policy_name, scan=Scan(scan_name))
    try:
        generator = load(model_name, device=device)
        refused = False
        hidden = quiet or not sys.stderr.isatty()
        with click.progressbar(
            length=count * 100, label="Generating", file=sys.stderr, hidden=hidden
        ) as bar:
            for index in range(count):
                done = 0

                def advance(share: float) -> None:
                    nonlocal done
                    step = max(0, int(share * 95) - done)
                    done += step
                    bar.update(step)

                request = Request(
                    prompt=prompt,
                    seconds=seconds,
                    seed=first + index,
                    negative_prompt=negative_prompt,
                )
                release = gate.generate(
                    generator,
                    request,
                    out=out,
                    file_format=file_format,  # type: ignore[arg-type]
                    progress=advance,
                )
                bar.update(100 - done)
                refused |= not release.is_released
                if not hidden:
                    click.echo("\r\033[K", nl=False, err=True)
                emit(release.to_json(), text_of(release), format_)
    finally:
        gate.close()
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
