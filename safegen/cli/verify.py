"""``safegen verify``: what is this file?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option
from safegen.errors import InputError, SafegenError

if TYPE_CHECKING:
    from safegen.licensing import Owed
    from safegen.provenance.c2pa import IngredientFinding
    from safegen.verification import Verification


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--offline",
    is_flag=True,
    help="Use only FILE, its .receipt.json and the log's public key; no registry.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Print the evidence behind the verdict; asks the classifier of synthetic audio, too.",
)
@format_option
def verify(files: tuple[Path, ...], offline: bool, explain: bool, format_: str) -> None:
    """Say what each FILE is: ours, claimed-mismatch or unknown.

    A watermark is a claim. A file is ours when a mark, a manifest or its hash leads
    to a record and the sound agrees with that record. Unknown says nothing about who
    made it. Of a file that is ours, what its record says is owed is told: attribution
    lines and share-alike terms of the works it quotes under a license.

    \b
    Exit status:
      0  every file is ours
      1  something failed
      2  bad arguments or an unreadable file
      3  at least one file is unknown or a mismatch
      4  a record is not what was logged, a receipt does not hold, or AudioSeal's weights
         are damaged

    \b
    Example:
      safegen verify out/*.wav --explain
    """
    if offline:
        raise SystemExit(_offline(files, format_))
    from registry import schema
    from safegen import second_mark, watermark
    from safegen.provenance.keys import KeyStore
    from safegen.synthesis import classifier_of
    from safegen.verification import Verdict, Verifier

    settings = config()
    keys = KeyStore(settings.keys)
    second = second_mark.from_home(settings)
    database = schema.open_database(settings.database_url)
    verifier = Verifier(
        database=database,
        keys=keys,
        second=second,
        inflation=watermark.inflation_of(settings),
        classify=classifier_of(settings) if explain else None,
    )
    all_ours = True
    unreadable: list[SafegenError] = []
    try:
        for path in files:
            try:
                found = verifier.verify(path)
            except InputError as error:
                unreadable.append(error)
                click.echo(f"Error: {error}", err=True)
                continue
            all_ours &= found.verdict is Verdict.OURS
            emit(found.to_json(), _text(found, explain=explain), format_)
    finally:
        database.close()
    if unreadable:
        raise SystemExit(InputError.exit_code)
    raise SystemExit(0 if all_ours else 3)


def _text(found: "Verification", *, explain: bool) -> str:
    from safegen.policy import p_text
    from safegen.synthesis import synthesis_json
    from safegen.synthesis_words import headline, sentences
    from safegen.watermark import day_of_epoch

    lines = [f"{found.verdict.value}: {found.file}", f"  {found.reason}", *_owed_lines(found.owed)]
    if found.manifest.model_license and found.manifest.state == "trusted":
        license_ = found.manifest.model_license
        lines.append(f"  made by a model under {license_}, which binds whoever passes it on")
    if explain:
        mark, manifest = found.mark, found.manifest
        marked = f"{mark.payload:016x}" if mark.payload is not None else "none"
        day = day_of_epoch(mark.epoch or 0)
        written = synthesis_json(found.synthetic, found.origin)
        lines += [
            f"  watermark   {marked} (p {p_text(mark.p_value)}, key {mark.key_id or '-'})"
            + (f", marked on {day}" if day else "")
            + _played(mark.speed, mark.semitones),
            *(
                f"    {i.start_seconds:.1f}-{i.end_seconds:.1f} s, z = {i.score:.1f}"
                for i in mark.intervals
            ),
            f"  codec mark  {'heard' if found.root.detected else 'none'}"
            f" (p {p_text(found.root.p_value)})",
            f"  audioseal   {_second_text(found)}",
            f"  c2pa        {manifest.state}"
            + (f" ({manifest.issuer})" if manifest.issuer else ""),
            *(f"    {_made_from(each)}" for each in found.made_from),
            f"  synthetic   {headline(written) or '-'}",
            *(f"    {sentence}" for sentence in sentences(written)),
            f"  record      {found.record_id or '-'} {found.decision}",
            f"  log         {_yes_no(found.is_logged)}",
            f"  sha256      {found.sha256}",
        ]
    return "\n".join(lines)


def _owed_lines(owed: "tuple[Owed, ...]") -> list[str]:
    """Say what whoever passes the file on owes, a line for each demand."""
    lines: list[str] = []
    for each in owed:
        terms = each.terms
        if "attribution" in terms.obligations:
            lines.append(f"  attribution is owed: {terms.attribution}")
        if "share_alike" in terms.obligations:
            lines.append(
                f"  share-alike: {terms.name} of {each.title} ({each.rights_holder}), "
                f"terms {terms.terms_sha256[:16]}"
            )
    return lines


def _made_from(each: "IngredientFinding") -> str:
    """Say what the file was made from, and what that one's own manifest was worth."""
    own = "with a manifest that held" if each.is_valid else "with a manifest that did NOT hold"
    how = "made of" if each.relationship == "parentOf" else "guided by"
    return (
        f"{how} a {each.name.replace('continue_from', 'beginning')} "
        + (own if each.has_manifest else "without a manifest")
        + (f", record {each.record_id}" if each.record_id else "")
    )


def _second_text(found: "Verification") -> str:
    from safegen.policy import p_text

    if found.second is None:
        return "not installed here"
    text = f"presence {found.second.heard.presence:.2f}"
    by_luck = found.second.agreement_p
    return (
        text if by_luck is None else f"{text}, the record's message by luck (p {p_text(by_luck)})"
    )


def _played(speed: float, semitones: float) -> str:
    """Say how the sound was changed, if it was."""
    if abs(speed - 1.0) < 0.002 and abs(semitones) < 0.05:
        return ""
    return f", played at {speed:.3f} of its speed, {semitones:+.2f} semitones"


def _yes_no(is_logged: bool | None) -> str:
    return "-" if is_logged is None else ("included" if is_logged else "NOT included")


def _offline(files: tuple[Path, ...], format_: str) -> int:
    from safegen.audio import sha256_file
    from safegen.licensing import owed_by
    from safegen.provenance import receipts
    from safegen.provenance.keys import KeyStore

    public_key = KeyStore(config().keys).log_public_key()
    all_ours = True
    for path in files:
        sha256 = sha256_file(path)
        sidecar = receipts.sidecar(path)
        if not sidecar.exists():
            all_ours = False
            nothing = {"file": str(path), "sha256": sha256, "verdict": "unknown", "basis": ""}
            emit(nothing, f"unknown: {path}\n  there is no {sidecar.name} beside it", format_)
            continue
        receipt = receipts.verify(sidecar, sha256=sha256, log_public_key=public_key)
        owed = owed_by(receipt.record)
        row: dict[str, object] = {
            "file": str(path),
            "sha256": sha256,
            "verdict": "ours",
            "basis": "receipt",
            "record": {"id": receipt.record_id},
            "log": {"included": True, "index": receipt.position, "tree_size": receipt.tree_size},
            "owed": [each.to_json() for each in owed],
        }
        text = f"ours: {path}\n  entry {receipt.position} of the log of {receipt.tree_size} entries"
        text = "\n".join([text, *_owed_lines(owed)])
        emit(row, text, format_)
    return 0 if all_ours else 3
