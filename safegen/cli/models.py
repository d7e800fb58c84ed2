"""List the models that ship: licenses, hashes, training data, limits."""

from dataclasses import asdict

import click

from safegen.cli.options import emit, format_option


@click.group()
def models() -> None:
    """List the models, their licenses and weights.

    \b
    Exit status:
      0  done
      2  no such model
      4  a weight file is not the one its card names (show --check)

    \b
    Example:
      safegen models show music-flow --check
    """


@models.command(name="list")
@format_option
def list_command(format_: str) -> None:
    """List the models by name.

    \b
    Example:
      safegen models list --format jsonl
    """
    from safegen.generation.cards import CARDS, DEFAULT_MODEL

    for found in CARDS:
        default = found.name == DEFAULT_MODEL
        row = {
            "name": found.name,
            "version": found.version,
            "default": default,
            "license": found.license,
            "sample_rate": found.sample_rate,
            "parameters": found.parameters,
            "weights_sha256": found.weights_sha256,
        }
        mark = " (default)" if default else ""
        emit(row, f"{found.name}{mark}: {found.summary} {found.license}", format_)


@models.command()
@click.argument("name")
@click.option("--check", is_flag=True, help="Compare the installed files with their hashes.")
@format_option
def show(name: str, check: bool, format_: str) -> None:
    """Show the card of model NAME.

    \b
    Exit status:
      0  done
      1  a weight file is missing (--check)
      2  no such model
      4  a weight file is not the one the card names (--check)

    \b
    Example:
      safegen models show music-flow
    """
    from safegen.generation.cards import card, checked_path

    found = card(name)
    if check:
        for file in found.files:
            checked_path(file)
    row = {
        **asdict(found),
        "weights_sha256": found.weights_sha256,
        "training_manifest_sha256": found.training_manifest_sha256,
    }
    lines = [
        f"{found.name} {found.version}: {found.summary}",
        f"license     {found.license}",
        f"sound       mono, {found.sample_rate} Hz, "
        f"{found.shortest_seconds:g} to {found.longest_seconds:g} s",
        f"parameters  {found.parameters:,}",
        f"learned     {found.training_data}",
        f"limits      {found.limits}",
        f"own mark    {found.mark}",
        *(f"file        {file.sha256}  {file.name}" for file in found.files),
        *(f"recipe      {recipe}" for recipe in found.recipes),
    ]
    if check:
        lines.append("checked     every file is the one this card names")
    emit(row, "\n".join(lines), format_)
