"""The command line's door: finds the command's file, runs it, ends our errors in one place.

A command is a file of this folder; it is imported when it is asked for, so that
``safegen --help`` answers without loading torch, numpy or sqlalchemy.
"""

import importlib
import importlib.metadata
from typing import Final

import click

from safegen.errors import SafegenError

COMMANDS: Final = {
    "generate": "Generate audio and release it through the gate.",
    "replay": "Make a released sound again and say whether it is the same.",
    "release": "Send audio made elsewhere through the same gate.",
    "screen": "Judge uploads: synthetic, marked, matching a licensed work?",
    "verify": "Say what a file is: ours, claimed-mismatch or unknown.",
    "catalog": "Keep the licensed works that outputs are compared with.",
    "audit": "Answer a rights-holder from the registry and the log.",
    "log": "Verify, prove and export the tamper-evident log.",
    "policy": "Show, check, explain and compare policies.",
    "detectors": "Watch over the classifier of synthetic audio.",
    "codec": "Encode sound into codec files of 250 to 1000 bit/s, and decode them.",
    "models": "List the models, their licenses and weights.",
    "train": "Run a training recipe; resumable.",
    "eval": "Run a benchmark; prints its figures as JSON.",
    "db": "Create or upgrade the database.",
    "keys": "Create, list and rotate keys.",
    "doctor": "Check this installation and say what to mend.",
    "demo": "Run the whole gate once, on works composed on the spot.",
}
"""Command -> one line of help. Each lives in ``safegen/cli/<command>.py`` under its own name."""


class Main(click.Group):
    """A group that loads commands late and ends our own errors with one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of a first reading, without importing them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one file that holds the command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"safegen.cli.{cmd_name}")
        command = getattr(module, f"{cmd_name}_command", None) or getattr(module, cmd_name)
        if not isinstance(command, click.Command):
            msg = f"safegen.cli.{cmd_name} defines no click command"
            raise TypeError(msg)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, so that help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; any other exception is a bug and keeps its traceback."""
        try:
            return super().invoke(ctx)
        except SafegenError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except _registry_errors() as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)


def _registry_errors() -> type[Exception]:
    from registry.errors import RegistryError

    return RegistryError


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="safegen", prog_name="safegen")
def main() -> None:
    """safegen: the release gate for generated audio.

    Every clip is watermarked, listened to, compared with licensed works and with
    the model's training data, judged by a policy, signed and logged before it is
    released.

    \b
    Exit status of every command:
      0  done, or yes
      1  could not
      2  wrong use or bad input
      3  the answer is no (blocked, flagged, not ours)
      4  evidence is broken (signature, hash or log proof)

    \b
    Example:
      safegen generate "a calm piano piece in A minor, 80 bpm" --policy strict --out out/
    """
