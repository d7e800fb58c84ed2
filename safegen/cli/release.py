"""``safegen release``: the same gate around audio made elsewhere."""

import sys
from pathlib import Path

import click

from safegen.cli.generate import text_of
from safegen.cli.options import emit, format_option, gate_options, quiet_option


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--generator", required=True, metavar="TEXT", help="Who made it: name and version.")
@click.option("--license", "license_", default="unknown", metavar="TEXT", help="Of the generator.")
@click.option("--prompt", help="What was asked for; recorded as a commitment only.")
@gate_options
@format_option
@quiet_option
def release(
    files: tuple[Path, ...],
    policy_name: str,
    generator: str,
    license_: str,
    prompt: str | None,
    scan_name: str,
    file_format: str,
    out: Path,
    format_: str,
    quiet: bool,
) -> None:
    """Send each FILE, made by another generator, through the gate.

    Every FILE is read before the first is judged, so a bad one stops the run early.

    \b
    Exit status:
      0  every file was released
      1  something failed; nothing unlogged was written
      2  bad arguments or an unreadable file
      3  the policy refused at least one file

    \b
    Example:
      safegen release song.wav --generator "MyModel 2.1" --policy strict --out out/
    """
    from safegen.audio import load
    from safegen.gate import Gate
    from safegen.generation.base import ModelFacts
    from safegen.matching import Scan

    for path in files:
        load(path)
    facts = ModelFacts(name=generator, version="unknown", license=license_)
    gate = Gate.open(policy_name=policy_name, scan=Scan(scan_name))
    refused = False
    try:
        hidden = quiet or not sys.stderr.isatty() or sys.stdout.isatty()
        with click.progressbar(files, label="Releasing", file=sys.stderr, hidden=hidden) as bar:
            for path in bar:
                found = gate.submit(
                    load(path),
                    facts,
                    out=out,
                    prompt=prompt,
                    file_format=file_format,  # type: ignore[arg-type]
                    source_name=path.name,
                )
                refused |= not found.is_released
                emit(found.to_json(), text_of(found), format_)
    finally:
        gate.close()
    raise SystemExit(3 if refused else 0)
