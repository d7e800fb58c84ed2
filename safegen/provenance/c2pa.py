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
_PARENT_MIME: Final[Mapping[str, str]] = {
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
_PARENT: Final = "input"
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


def sign(
    source: Path,
    destination: Path,
    *,
    file_format: FileFormat,
    claim: ClaimFacts,
    key: ManifestKey,
    trust_anchors: str,
    parent: Path | None = None,
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
        parent: The file that was handed in, for origin "foreign"; its own manifest,
            if it has one, is carried along.
        timestamp_url: An RFC 3161 authority. Without one, the signature is valid for
            as long as its certificate. It is the only address that is contacted.

    Raises:
        SafegenError: If the file cannot be signed.
        IntegrityError: If the signed file does not read back as trusted.
    """
    import c2pa

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
                c2pa.Builder(_manifest(claim, file_format, parent), context=context) as builder,
                source.open("rb") as plain,
            ):
                if parent is not None:
                    _add_parent(builder, parent)
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


def _manifest(claim: ClaimFacts, file_format: FileFormat, parent: Path | None) -> dict[str, Any]:
    """Lay out the claim; a created or opened action must come first."""
    agent = {"name": claim.model}
    if claim.origin == "generated":
        actions: list[dict[str, Any]] = [
            {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}
        ]
    elif parent is not None:
        actions = [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}},
            {"action": "c2pa.edited", "digitalSourceType": COMPOSITE, "softwareAgent": agent},
        ]
    else:
        actions = [
            {"action": "c2pa.created", "digitalSourceType": COMPOSITE, "softwareAgent": agent}
        ]
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


def _add_parent(builder: Any, parent: Path) -> None:
    """Name the file that was handed in, with the manifest that it may carry."""
    import c2pa

    facts = {
        "title": "input",
        "relationship": "parentOf",
        "label": _PARENT,
        "instance_id": _PARENT,
    }
    mime = _PARENT_MIME.get(parent.suffix.lower(), "")
    with parent.open("rb") as file:
        try:
            builder.add_ingredient(json.dumps(facts), mime or "application/octet-stream", file)
        except c2pa.C2paError.NotSupported as error:
            raise SafegenError(
                f"{parent.name}: a manifest cannot name this kind of file as its origin"
            ) from error


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
