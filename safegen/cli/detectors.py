"""``safegen detectors``: the classifier of synthetic audio, watched over and added to."""

import click

from safegen.cli.drift import drift
from safegen.cli.explain import explain
from safegen.cli.plugins import add, calibrate, list_command, remove, show
from safegen.cli.register import register


@click.group()
def detectors_command() -> None:
    """Watch over the classifier of synthetic audio.

    \b
    Exit status:
      0  done
      1  could not
      2  wrong use, or too few files to answer
      3  the answer is no (drift: something moved)
      4  something that was added is damaged

    \b
    Example:
      safegen detectors list
      safegen detectors register my-tts --from outputs/ --family neural-tts
      safegen detectors drift --since 2026-11-01 --report drift.html
    """


for _command in (list_command, show, register, add, calibrate, remove, drift, explain):
    detectors_command.add_command(_command)
