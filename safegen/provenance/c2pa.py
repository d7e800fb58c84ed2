"""Is there a signed manifest in the file, does it hold, and is it ours?

The one door to c2pa-python. It signs from a staged file to a staged file with the
network off, and reads a manifest into one of five states. Only "trusted" counts as
ours: "valid" means that the file was not changed since *somebody* signed it.

A manifest says which record an output has, under which policy it was released and
which watermark it carries. It never says what the prompt was.

Contexts are made for each call: one that was made before a fork is refused by the
library afterwards, and they cost less than a millisecond.
"""

import contextlib
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from safegen.audio import FileFormat
from safegen.errors import IntegrityError, SafegenError
from safegen.provenance.keys import ManifestKey

C2paState = Literal["trusted", "valid", "invalid", "absent", "unreadable"]
Origin = Literal["generated", "foreign"]
Relationship = Literal["parentOf", "inputTo"]

RELEASE_LABEL: Final = "org.safegen.release"
QUOTATIONS_LABEL: Final = "org.safegen.quotations"
GENERATED: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE: Final = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)
_MIME: Final[Mapping[FileFormat, str]] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
}
_INGREDIENT_MIME: Final[Mapping[str, str]] = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".mp4": "video/mp4",
}
_ATTESTED: Final = (
    "c2pa.actions",
    "c2pa.actions.v2",
    "c2pa.ingredient.v3",
    RELEASE_LABEL,
    QUOTATIONS_LABEL,
)
_UNTRUSTED: Final = "signingCredential.untrusted"
_TRUSTED: Final = "signingCredential.trusted"
_MEMORY_THRESHOLD_MIB: Final = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """A cataloged work that the output quotes under a license with obligations.

    Attributes:
        work_id: Of the catalog.
        title: Of the work.
        isrc: Of the work, "" if unknown.
        rights_holder: Names joined by ", ".
        license: Its name.
        terms_sha256: Of its document or fields.
        obligations: "attribution", "share_alike".
        attribution: The line to be shown, "" unless attribution is owed.
    """

    work_id: str
    title: str
    isrc: str
    rights_holder: str
    license: str
    terms_sha256: str
    obligations: tuple[str, ...]
    attribution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """A sound that an output was made from.

    Attributes:
        name: What it was, "melody"; shown as its title, because a file's name may be private.
        relationship: "parentOf" if the output holds the sound or a version of it, at most
            one; "inputTo" if a model was only guided by it.
        path: The file, whose own manifest is carried along if it has one; None if the sound
            was not a file.
    """

    name: str
    relationship: Relationship
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngredientFinding:
    """What a manifest says about a sound that the file was made from.

    Attributes:
        name: Its title.
        relationship: "parentOf", "inputTo" or "componentOf".
        record_id: The record that the sound's own manifest names, if that was trusted when
            the file was signed; "" otherwise.
        has_manifest: Whether the sound had a manifest of its own.
        is_valid: Whether that manifest held when the file was signed.
    """

    name: str
    relationship: str
    record_id: str
    has_manifest: bool
    is_valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFacts:
    """What a manifest says about an output.

    Attributes:
        record_id: The provenance record.
        title: Shown as the work's title; the file's name, never the prompt.
        model: Name and version of what made it.
        policy_name: Under which it was judged.
        policy_sha256: Of the policy's canonical form.
        watermark_algorithm: Name of the watermark.
        watermark_payload: The id it carries, hex.
        origin: "generated" if a known generator made it; "foreign" for a file that
            was handed in and whose origin is not known.
        software_version: Of safegen.
        quotations: Works whose licenses oblige whoever passes the file on.
        license: Of the model, "" if it is not told.
        license_accepted: Day on which the operator accepted it, "" if it asks for no consent.
    """

    record_id: str
    title: str
    model: str
    policy_name: str
    policy_sha256: str
    watermark_algorithm: str
    watermark_payload: str
    origin: Origin
    software_version: str
    quotations: tuple[Quotation, ...] = ()
    license: str = ""
    license_accepted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class C2paFinding:
    """What a file's manifest amounts to.

    Attributes:
        state: "trusted": unchanged, signed under our trust anchors. "valid": unchanged,
            signed by somebody else. "invalid": changed, forged or expired. "absent":
            no manifest. "unreadable": nothing that could hold one.
        failures: Codes of what does not hold, such as "assertion.dataHash.mismatch".
        record_id: The record a manifest of ours names; "" without one. To be believed
            only when the state is "trusted".
        policy_sha256: Likewise.
        watermark_payload: Likewise.
        issuer: Organization of the signing certificate.
        generator: Software that made the claim.
        source_type: Digital source type of the first action, "" if it has none.
        attributions: Lines that a manifest of ours says are owed; likewise.
        model_license: Of the model, if whoever passes the file on is bound by it; likewise.
        ingredients: Sounds that the file says it was made from.
    """

    state: C2paState
    failures: tuple[str, ...]
    record_id: str
    policy_sha256: str
    watermark_payload: str
    issuer: str
    generator: str
    source_type: str
    attributions: tuple[str, ...] = ()
    model_license: str = ""
    ingredients: tuple[IngredientFinding, ...] = ()


def sign(
    source: Path,
    destination: Path,
    *,
    file_format: FileFormat,
    claim: ClaimFacts,
    key: ManifestKey,
    trust_anchors: str,
    ingredients: Sequence[Ingredient] = (),
    timestamp_url: str | None = None,
) -> None:
    """Write a copy of ``source`` that carries a signed manifest.

    The sound and the tags of ``source`` are covered by the signature, so tags are
    written before.

    Args:
        source: The encoded, tagged file.
        destination: Must not exist; on any failure it does not exist afterwards. Making it
            durable is the caller's.
        file_format: Of both.
        claim: What to say.
        key: Signs.
        trust_anchors: PEM; the result is checked against them before it is kept.
        ingredients: What the sound was made from.
        timestamp_url: An RFC 3161 authority. Without one, the signature is valid for
            as long as its certificate. It is the only address that is contacted.

    Raises:
        ValueError: If more than one ingredient is a parent.
        SafegenError: If the file cannot be signed.
        IntegrityError: If the signed file does not read back as trusted.
    """
    import c2pa

    manifest = _manifest(claim, file_format, ingredients)
    settings = _settings(trust_anchors, allowed_host=timestamp_url)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(destination, flags, 0o600), "w+b") as target:
            info = c2pa.C2paSignerInfo(
                c2pa.C2paSigningAlg.ES256,
                key.chain_pem.encode(),
                key.private_key_pem.encode(),
                # None, because an empty address fails at signing.
                timestamp_url.encode() if timestamp_url else None,
            )
            signer = c2pa.Signer.from_info(info)
            with (
                c2pa.Context.from_dict(settings, signer=signer) as context,
                c2pa.Builder(manifest, context=context) as builder,
                source.open("rb") as plain,
            ):
                for each in ingredients:
                    _add_ingredient(builder, each)
                builder.sign(_MIME[file_format], plain, target)
        finding = read(destination, trust_anchors=trust_anchors)
        if finding.state != "trusted" or finding.record_id != claim.record_id:
            raise IntegrityError(
                f"{destination.name}: signed, but it reads back as {finding.state} "
                f"({', '.join(finding.failures) or 'no code'})",
                remedy="Run `safegen doctor`; the clock or the keys may be wrong.",
            )
    except FileExistsError as error:
        raise SafegenError(
            f"{destination}: exists already", remedy="Name a file that does not exist."
        ) from error
    except (c2pa.C2paError, OSError) as error:
        _discard(destination)
        raise SafegenError(
            f"{source.name}: could not be signed ({_short(error)})",
            remedy="Run `safegen doctor` to check the keys and the C2PA library.",
        ) from error
    except BaseException:
        _discard(destination)
        raise


def read(path: Path, *, trust_anchors: str) -> C2paFinding:
    """Read and check the manifest in a file, whoever made it.

    Nothing is fetched: a manifest that is only linked to counts as absent.

    Args:
        path: Any file; its name says nothing.
        trust_anchors: PEM of the roots that are trusted; "" for none.

    Raises:
        SafegenError: If the file cannot be opened.
    """
    import c2pa

    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(_settings(trust_anchors, allowed_host=None)) as context,
            c2pa.Reader(file, context=context) as reader,
        ):
            state = reader.get_validation_state()
            found = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return _nothing("absent")
    except c2pa.C2paError.NotSupported:
        return _nothing("unreadable")
    except (c2pa.C2paError, ValueError) as error:
        log.debug("%s: no readable manifest: %s", path, error)
        return _nothing("unreadable")
    except OSError as error:
        raise SafegenError(
            f"{path}: cannot be read ({error.strerror})", remedy="Check the path."
        ) from error
    return _finding(str(state or ""), found)


def _settings(trust_anchors: str, *, allowed_host: str | None) -> dict[str, Any]:
    """Close the network, which the library's defaults leave open, and set the trust."""
    from urllib.parse import urlsplit

    host = urlsplit(allowed_host).hostname if allowed_host else None
    trust: dict[str, Any] = {"trust_anchors": trust_anchors} if trust_anchors else {}
    return {
        "version": 1,
        "trust": trust,
        "core": {
            "allowed_network_hosts": [host] if host else [],
            "allow_redirects": False,
            "decode_identity_assertions": False,
            "backing_store_memory_threshold_in_mb": _MEMORY_THRESHOLD_MIB,
        },
        "verify": {
            "verify_trust": True,
            "verify_after_sign": False,  # ``sign`` reads the file on disk instead
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        "builder": {
            "thumbnail": {"enabled": False},
            # What is not listed here is "gathered": in the file, but not attested by us.
            "created_assertion_labels": list(_ATTESTED),
        },
    }


def _manifest(
    claim: ClaimFacts, file_format: FileFormat, ingredients: Sequence[Ingredient]
) -> dict[str, Any]:
    """Lay out the claim; a created or opened action must come first.

    What holds a given sound was opened and edited, which the parent's action says; what was
    only guided by one was created, and names its inputs.
    """
    parents = [each.name for each in ingredients if each.relationship == "parentOf"]
    inputs = [each.name for each in ingredients if each.relationship == "inputTo"]
    if len(parents) > 1:
        msg = f"{len(parents)} parents, a file has one at most: {', '.join(parents)}"
        raise ValueError(msg)
    made: dict[str, Any] = {
        "action": "c2pa.edited" if parents else "c2pa.created",
        "digitalSourceType": COMPOSITE if parents or claim.origin == "foreign" else GENERATED,
        "softwareAgent": {"name": claim.model},
    }
    if inputs:
        made["parameters"] = {"ingredientIds": inputs}
    actions = [made]
    if parents:
        actions.insert(0, {"action": "c2pa.opened", "parameters": {"ingredientIds": parents}})
    release: dict[str, Any] = {
        "record_id": claim.record_id,
        "policy": {"name": claim.policy_name, "sha256": claim.policy_sha256},
        "watermark": {
            "algorithm": claim.watermark_algorithm,
            "payload": claim.watermark_payload,
        },
    }
    if claim.license_accepted:
        release["model"] = {
            "name": claim.model,
            "license": claim.license,
            "license_accepted": claim.license_accepted,
        }
    assertions: list[dict[str, Any]] = [
        {"label": "c2pa.actions", "data": {"actions": actions}},
        {"label": RELEASE_LABEL, "data": release},
    ]
    if claim.quotations:
        works = [_quotation(each) for each in claim.quotations]
        assertions.append({"label": QUOTATIONS_LABEL, "data": {"works": works}})
    return {
        "claim_generator_info": [{"name": "safegen", "version": claim.software_version}],
        "title": claim.title,
        "format": _MIME[file_format],
        "assertions": assertions,
    }


def _quotation(each: Quotation) -> dict[str, Any]:
    """Lay out what a work's license asks of whoever passes the file on."""
    return {
        "work_id": each.work_id,
        "title": each.title,
        "isrc": each.isrc,
        "rights_holder": each.rights_holder,
        "license": {"name": each.license, "terms_sha256": each.terms_sha256},
        "obligations": list(each.obligations),
        "attribution": each.attribution,
    }


def _add_ingredient(builder: Any, each: Ingredient) -> None:
    """Name a sound that was handed in, with the manifest that its file may carry."""
    facts = {
        "title": each.name,
        "relationship": each.relationship,
        "label": each.name,
        "instance_id": each.name,
    }
    if each.path is None:
        builder.add_ingredient(json.dumps(facts), "application/octet-stream", io.BytesIO())
        return
    mime = _INGREDIENT_MIME.get(each.path.suffix.lower(), "application/octet-stream")
    with each.path.open("rb") as file:
        builder.add_ingredient(json.dumps(facts), mime, file)


def _finding(state: str, found: Mapping[str, Any]) -> C2paFinding:
    """Reduce the library's report to what a judgement needs."""
    results = found.get("validation_results", {})
    failures = _codes(results.get("activeManifest", {}))
    for delta in results.get("ingredientDeltas", []):
        failures += _codes(delta.get("validationDeltas", {}))
    manifest = found.get("manifests", {}).get(found.get("active_manifest", ""), {})
    data = {item.get("label", ""): item.get("data") for item in manifest.get("assertions", [])}
    release = _object(data.get(RELEASE_LABEL))
    info = manifest.get("claim_generator_info") or [{}]
    return C2paFinding(
        state=_state(state, failures, has_manifest=bool(manifest)),
        failures=tuple(dict.fromkeys(failures)),
        record_id=str(release.get("record_id", "")),
        policy_sha256=str(_object(release.get("policy")).get("sha256", "")),
        watermark_payload=str(_object(release.get("watermark")).get("payload", "")),
        issuer=str(_object(manifest.get("signature_info")).get("issuer", "")),
        generator=" ".join(str(info[0].get(k, "")) for k in ("name", "version")).strip(),
        source_type=_source_type(data),
        attributions=_attributions(data.get(QUOTATIONS_LABEL)),
        model_license=str(_object(release.get("model")).get("license", "")),
        ingredients=_ingredients(manifest, found.get("manifests", {})),
    )


def _state(state: str, failures: Sequence[str], *, has_manifest: bool) -> C2paState:
    """Trust the library's state only as far as its failure codes agree with it."""
    if not has_manifest:
        return "absent"
    if state == "Trusted" and not failures:
        return "trusted"
    if state in ("Trusted", "Valid") and set(failures) <= {_UNTRUSTED}:
        return "valid"
    return "invalid"


def _source_type(data: Mapping[str, object]) -> str:
    for label in ("c2pa.actions.v2", "c2pa.actions"):
        for action in _object(data.get(label)).get("actions", []):
            if kind := _object(action).get("digitalSourceType"):
                return str(kind)
    return ""


def _ingredients(
    manifest: Mapping[str, Any], manifests: Mapping[str, Any]
) -> tuple[IngredientFinding, ...]:
    """Read what the file was made from, with the validation that was noted when it was signed."""
    found = []
    for each in manifest.get("ingredients") or []:
        label = each.get("active_manifest") or ""
        own = _object(manifests.get(label))
        data = {item.get("label", ""): item.get("data") for item in own.get("assertions", [])}
        noted = _object(_object(each.get("validation_results")).get("activeManifest"))
        failures = set(_codes(noted)) - {_UNTRUSTED}
        passed = {str(item.get("code", "")) for item in noted.get("success", [])}
        is_ours = _TRUSTED in passed and not failures
        found.append(
            IngredientFinding(
                name=str(each.get("title", "")),
                relationship=str(each.get("relationship", "")),
                record_id=str(_object(data.get(RELEASE_LABEL)).get("record_id", ""))
                if is_ours
                else "",
                has_manifest=bool(label),
                is_valid=bool(label) and not failures,
            )
        )
    return tuple(found)


def _attributions(data: object) -> tuple[str, ...]:
    works = _object(data).get("works")
    listed = works if isinstance(works, list) else []
    lines = [_object(work).get("attribution") for work in listed]
    return tuple(line for line in lines if isinstance(line, str) and line)


def _codes(results: Mapping[str, Any]) -> list[str]:
    return [str(item.get("code", "")) for item in results.get("failure", [])]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _nothing(state: C2paState) -> C2paFinding:
    return C2paFinding(
        state=state,
        failures=(),
        record_id="",
        policy_sha256="",
        watermark_payload="",
        issuer="",
        generator="",
        source_type="",
    )


def _discard(path: Path) -> None:
    """Remove what a failure left; the library leaves an empty file."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
