"""``safegen demo``: the whole gate once."""

import sys
import time
from pathlib import Path

import click

from safegen.cli.options import emit, format_option, quiet_option
from safegen.errors import InputError


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-out",
    show_default=True,
    metavar="DIR",
    help="Where everything goes; replaced if it is an earlier demo.",
)
@format_option
@quiet_option
def demo(out: Path, format_: str, quiet: bool) -> None:
    """Generate, release, refuse, verify and audit once, on works composed on the spot.

    \b
    Exit status:
      0  every step showed what it promises
      1  a step did not
      2  DIR holds something that is not an earlier demo

    \b
    Example:
      safegen demo --out demo-out
    """
    from safegen.demo import run

    started = time.monotonic()
    _clear(out)
    hidden = quiet or not sys.stderr.isatty()

    def progress(share: float) -> None:
        if not hidden:
            end = "\r\033[K" if share >= 1.0 else ""
            click.echo(f"\r  generating {share:4.0%}{end}", nl=False, err=True)

    for number, step in enumerate(run(out, progress=progress), start=1):
        lines = "".join(f"\n     {line}" for line in step.lines)
        row = {"step": number, "title": step.title, "lines": list(step.lines)}
        emit(row, f"{number}. {step.title}{lines}", format_)
    if format_ == "text":
        click.echo(f"\nDone in {time.monotonic() - started:.0f} s. Listen: {out / 'released'}")
        click.echo(f"Explore: SAFEGEN_HOME={(out / 'home').absolute()} {sys.argv[0]} --help")


def _clear(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    import shutil

    if not out.exists() or not any(out.iterdir()):
        return
    known = {"home", "catalog", "released", "uploads", "report.html"}
    strange = sorted(path.name for path in out.iterdir() if path.name not in known)
    if strange or not (out / "home").is_dir():
        raise InputError(
            f"{out}: holds {', '.join(strange) or 'no demo'}, which no demo made",
            remedy="Name another folder with --out.",
        )
    shutil.rmtree(out)
