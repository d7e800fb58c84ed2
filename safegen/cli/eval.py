"""Run a benchmark: one module of ``safegen.evaluation`` each, loaded when it is asked for."""

import importlib
from typing import Final

import click

BENCHMARKS: Final = {
    "assets": "Fetch the audio that benchmarks need from Debian.",
    "generation": "Does the generator follow prompts, and how fast is it?",
    "codec-quality": "How well does the codec carry sound, beside Opus?",
    "instrument-fit": "Fit the meter that hears which instrument plays.",
    "melody": "Does a model follow a melody it is given?",
    "clap": "How near are sounds to their prompts, as a CLAP hears it?",
    "watermark": "Is the mark read back after attacks, and never where it is not?",
    "fingerprint": "Are excerpts of licensed works found, and others left alone?",
    "composition": "Are pieces found that somebody else plays, and strangers left alone?",
    "memorization": "Are copies of training items flagged?",
    "synthetic": "Is generated audio told from recordings?",
    "dataset-audit": "What else tells the real from the fake files of a training set?",
    "rooted": "Is the mark that the codec itself writes heard after attacks?",
    "streaming": "How soon is a stream heard, and is it as good as the whole?",
    "gate": "What does the gate cost, beside generation?",
    "public-models": "Is a public checkpoint slower here than in its own library?",
}
"""Benchmark -> one line of help. Each lives in ``safegen/evaluation/<name>.py`` as ``command``."""


class Benchmarks(click.Group):
    """A group that imports a benchmark when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the benchmarks without importing them."""
        return list(BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that holds the benchmark."""
        if cmd_name not in BENCHMARKS:
            return None
        try:
            module = importlib.import_module(f"safegen.evaluation.{cmd_name.replace('-', '_')}")
        except ModuleNotFoundError as error:
            raise click.ClickException(f"benchmark {cmd_name} needs {error.name}") from error
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the benchmarks from the table."""
        with formatter.section("Benchmarks"):
            formatter.write_dl(list(BENCHMARKS.items()))


@click.group(name="eval", cls=Benchmarks)
def eval_command() -> None:
    """Run a benchmark and print its figures as JSON on stdout.

    \b
    Exit status:
      0  the benchmark ran
      1  it could not
      2  bad arguments

    \b
    Example:
      safegen eval generation --count 100
    """
