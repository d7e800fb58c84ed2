"""What is this file: ours, a claim that does not hold, or unknown?

The steps, in this order:

1. the marks: which payload, under which of our keys; and did the shipped codec make it
2. the manifest: does a C2PA manifest of ours validate
3. the record: which record do mark, manifest or the file's hash lead to
4. the content: does the sound agree with the fingerprint in that record
5. the log: is the record's leaf included in the current signed checkpoint

A watermark is a claim, not a proof: its residual can be copied onto another
recording. Only a record whose fingerprint agrees with the sound makes a file ours.
The codec's own mark is public and names no record, so it never decides between ours
and not ours; it says where an unknown file comes from. AudioSeal's weights are public, too:
its 16 bits speak only about a record that something else led to. The absence of
everything never means that a human made it.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from detectors import chromaprint, decoder_mark, fingerprint
from detectors.audioseal import AudioSeal, message
from detectors.base import WatermarkFinding
from detectors.decoder_mark import DecoderMarkFinding
from detectors.presence import AudioSealFinding, agreement_p
from detectors.synthetic.finding import SyntheticFinding
from registry import releases
from registry.errors import NotFoundError
from registry.releases import OutputRow
from registry.session import Database
from safegen import watermark
from safegen.audio import Audio, load, sha256_file
from safegen.errors import IntegrityError
from safegen.licensing import Owed, owed_by
from safegen.provenance import c2pa
from safegen.provenance import record as provenance_record
from safegen.provenance.c2pa import C2paFinding
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.recording import mark_json, payload_hex
from safegen.straighten import straighten
from safegen.synthesis import Origin, origin_of, synthesis_json


class Verdict(StrEnum):
    """What a file is to this installation."""

    OURS = "ours"
    CLAIMED_MISMATCH = "claimed-mismatch"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondMark:
    """What AudioSeal says, where its weights are installed.

    Attributes:
        heard: Its finding; the presence of a mark says nothing about whose it is.
        agreement_p: Chance that its 16 bits agree so well with the record's id by luck;
            None if there is no record.
    """

    heard: AudioSealFinding
    agreement_p: float | None

    def to_json(self) -> dict[str, object]:
        """Give the object that ``verify`` prints."""
        return {
            "detected": self.heard.finding.detected,
            "presence": round(self.heard.presence, 4),
            "p_value": self.heard.finding.p_value,
            "agreement_p": self.agreement_p,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The answer about one file, with the evidence it rests on.

    Attributes:
        file: As named by the caller.
        sha256: Of the file's bytes.
        verdict: Worst first: a claim that fails is never hidden by one that holds.
        basis: What led to the record: "sha256", "watermark", "c2pa", "watermark-day" (the day
            that the mark tells and the content), or "" if nothing did.
        reason: One sentence for people.
        mark: What the watermark detector found.
        root: What was heard of the mark that the shipped codec's decoder writes.
        manifest: What the C2PA validator found.
        record_id: Of the record the file belongs to or claims; "" if there is none.
        decision: In that record.
        bit_error_rate: Between the file's and the record's fingerprint; None if not compared.
        is_logged: Whether the record's leaf is included in the log; None if there is no record.
        second: What AudioSeal says; None if it is not installed.
        owed: What the record of a file that is ours says is owed for the works it quotes.
        synthetic: What the classifier says; None if it was not asked.
    """

    file: str
    sha256: str
    verdict: Verdict
    basis: str
    reason: str
    mark: WatermarkFinding
    root: DecoderMarkFinding
    manifest: C2paFinding
    record_id: str
    decision: str
    bit_error_rate: float | None
    is_logged: bool | None
    second: SecondMark | None = None
    owed: tuple[Owed, ...] = ()
    synthetic: SyntheticFinding | None = None

    @property
    def made_from(self) -> tuple[c2pa.IngredientFinding, ...]:
        """The sounds that it was made from, as a manifest of ours says."""
        return self.manifest.ingredients if self.manifest.state == "trusted" else ()

    @property
    def origin(self) -> Origin:
        """Who made it: a mark counts only if the sound is the one that was marked."""
        if self.verdict is Verdict.CLAIMED_MISMATCH:
            return origin_of(self.synthetic, root=self.root)
        return origin_of(
            self.synthetic,
            is_logged=self.verdict is Verdict.OURS and self.basis == "sha256",
            mark=self.mark,
            root=self.root,
            manifest=self.manifest,
        )

    def to_json(self) -> dict[str, object]:
        """Give the object that ``verify`` prints."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "verdict": self.verdict.value,
            "basis": self.basis,
            "reason": self.reason,
            "watermark": mark_json(self.mark),
            "decoder_mark": {"detected": self.root.detected, "p_value": self.root.p_value},
            "audioseal": None if self.second is None else self.second.to_json(),
            "c2pa": {
                "state": self.manifest.state,
                "issuer": self.manifest.issuer,
                "ingredients": [asdict(each) for each in self.made_from],
                "attributions": list(self.manifest.attributions)
                if self.manifest.state == "trusted"
                else [],
                "model_license": self.manifest.model_license
                if self.manifest.state == "trusted"
                else "",
            },
            "record": {"id": self.record_id, "decision": self.decision},
            "content": {"bit_error_rate": self.bit_error_rate},
            "log": {"included": self.is_logged},
            "owed": [each.to_json() for each in self.owed],
            "synthetic": synthesis_json(self.synthetic, self.origin),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A record that the file leads to, and by what."""

    basis: str
    record: OutputRow


class Verifier:
    """Answers for one installation; keeps keys and database open between files.

    Args:
        database: Of the installation.
        keys: Of the installation.
        second: Its AudioSeal, None if that is not installed.
        inflation: As ``watermark.inflation_of`` gives it; None takes the shipped one.
        classify: Asks the classifier; None leaves it out, which takes nothing from the verdict.
    """

    def __init__(
        self,
        *,
        database: Database,
        keys: KeyStore,
        second: AudioSeal | None = None,
        inflation: float | None = None,
        classify: Callable[[Audio], SyntheticFinding] | None = None,
    ) -> None:
        self._second = second
        self._classify = classify
        self._database = database
        self._log = open_log(database, keys)
        self._mark_keys: Mapping[str, bytes] = keys.watermark_keys()
        self._inflation = inflation
        self._anchors = keys.trust_anchors()

    def verify(self, path: Path) -> Verification:
        """Say what a file is.

        Raises:
            InputError: If the file does not decode.
            IntegrityError: If the record it leads to is not the one that was logged.
        """
        audio = load(path)
        sha256 = sha256_file(path)

        # 1, 2 What the file says about itself.
        mark = watermark.detect(audio, keys=self._mark_keys, inflation=self._inflation)
        root = decoder_mark.hear(audio.waveform, audio.sample_rate)
        second = self._hear_second(audio)
        manifest = c2pa.read(path, trust_anchors=self._anchors)
        synthetic = None if self._classify is None else self._classify(audio)

        # 3 What we remember about that.
        claim = self._claim(sha256, mark, manifest) or self._by_day(audio, mark)
        if claim is None:
            found = self._without_record(path, sha256, mark, root, manifest)
            return replace(found, second=second, synthetic=synthetic)

        # 4 Whether the sound is the one we remember; the same bytes need no comparison.
        rate: float | None = None
        same = claim.basis == "sha256"
        if not same:
            comparison = self._compare(audio, mark, claim.record)
            same, rate = comparison.same, comparison.bit_error_rate

        # 5 Whether the memory is the one that was signed.
        is_logged = self._is_logged(claim.record)
        verdict = Verdict.OURS if same else Verdict.CLAIMED_MISMATCH
        return Verification(
            file=str(path),
            sha256=sha256,
            verdict=verdict,
            basis=claim.basis,
            reason=_reason(verdict, claim, rate),
            mark=mark,
            root=root,
            manifest=manifest,
            record_id=claim.record.output_id,
            decision=claim.record.decision,
            bit_error_rate=rate,
            is_logged=is_logged,
            second=second and self._compared(second, claim.record),
            owed=owed_by(provenance_record.parse(claim.record.record)) if same else (),
            synthetic=synthetic,
        )

    def _hear_second(self, audio: Audio) -> SecondMark | None:
        if self._second is None:
            return None
        heard = self._second.heard(audio.waveform, audio.sample_rate)
        return SecondMark(heard=heard, agreement_p=None)

    def _compared(self, second: SecondMark, record: OutputRow) -> SecondMark:
        """Compare the 16 bits with those that the record's id and key would have given."""
        key = self._mark_keys.get(record.watermark_key_id)
        if key is None or record.watermark_payload is None:
            return second
        word = message(int(record.watermark_payload, 16), key)
        return replace(second, agreement_p=agreement_p(second.heard.bits, word))

    def _claim(self, sha256: str, mark: WatermarkFinding, manifest: C2paFinding) -> _Claim | None:
        """Follow the strongest lead to a record of a release; voided ones count for nothing."""
        with self._database.read() as session:
            leads = [("sha256", releases.find_by_sha256(session, sha256))]
            if mark.detected and mark.payload is not None:
                found = releases.find_by_payload(session, payload_hex(mark.payload))
                leads.append(("watermark", found))
            if manifest.state == "trusted" and manifest.record_id:
                with contextlib.suppress(NotFoundError):
                    leads.append(("c2pa", releases.get_output(session, manifest.record_id)))
        for basis, record in leads:
            if record is not None and record.kind == "release" and record.state != "void":
                return _Claim(basis=basis, record=record)
        return None

    def _without_record(
        self,
        path: Path,
        sha256: str,
        mark: WatermarkFinding,
        root: DecoderMarkFinding,
        manifest: C2paFinding,
    ) -> Verification:
        marked = mark.detected and mark.payload is not None
        return Verification(
            file=str(path),
            sha256=sha256,
            verdict=Verdict.CLAIMED_MISMATCH if marked else Verdict.UNKNOWN,
            basis="watermark" if marked else "",
            reason=(
                "it carries a mark under our key, but no released output has that id"
                if marked
                else "it carries a mark under our key, but neither id nor day can be read"
                if mark.detected
                else "made with the shipped safegen codec, but not released by this installation"
                if root.detected
                else "no mark, manifest or record of ours; this says nothing about who made it"
            ),
            mark=mark,
            root=root,
            manifest=manifest,
            record_id="",
            decision="",
            bit_error_rate=None,
            is_logged=None,
        )

    def _by_day(self, audio: Audio, mark: WatermarkFinding) -> _Claim | None:
        """Follow a mark whose id cannot be read: compare with the releases of its day."""
        day = watermark.day_of_epoch(mark.epoch or 0)
        if not mark.detected or mark.payload is not None or day is None:
            return None
        since = datetime.combine(day, time(), UTC)
        with self._database.read() as session:
            records = releases.created_between(session, since, since + timedelta(days=1))
        for record in records:
            is_release = record.kind == "release" and record.state != "void"
            if is_release and self._compare(audio, mark, record).same:
                return _Claim(basis="watermark-day", record=record)
        return None

    def _compare(
        self, audio: Audio, mark: WatermarkFinding, record: OutputRow
    ) -> fingerprint.ContentComparison:
        """Compare the sound, brought back to the speed and pitch it was released at."""
        audio = straighten(audio, speed=mark.speed, semitones=mark.semitones)
        heard = chromaprint.fingerprint(audio.waveform, audio.sample_rate)
        return fingerprint.same_recording(heard, np.frombuffer(record.fingerprint, dtype="<u4"))

    def _is_logged(self, record: OutputRow) -> bool:
        with self._database.read() as session:
            if self._log.entry(session, record.log_index) != record.record:
                raise IntegrityError(
                    f"record {record.output_id} is not what was logged at {record.log_index}",
                    remedy="Run `safegen log verify` and restore the registry from a backup.",
                )
            self._log.prove_inclusion(session, record.log_index)
            return True


def _reason(verdict: Verdict, claim: _Claim, rate: float | None) -> str:
    name = {
        "sha256": "these are the bytes of",
        "watermark": "the watermark names",
        "watermark-day": "its id cannot be read, but the watermark's day and the sound lead to",
        "c2pa": "the signed manifest names",
    }[claim.basis]
    says = f"{name} record {claim.record.output_id}"
    if verdict is Verdict.OURS:
        agrees = "" if rate is None else f", and the sound agrees (bit errors {rate:.3f})"
        return f"{says}{agrees}{_refusal(claim.record)}"
    if not claim.record.fingerprint:
        return f"{says}, of which too little is recorded to compare the sound with"
    measured = "too short to compare" if rate is None else f"bit errors {rate:.3f}"
    return f"{says}, but the sound is another one ({measured}); the mark may have been copied"


def _refusal(record: OutputRow) -> str:
    """Say that an output was refused, if it was: a stream may be heard in part even so."""
    if record.state not in ("blocked", "quarantined"):
        return ""
    told: Mapping[str, Any] = provenance_record.parse(record.record)
    decision = told["decision"]
    rules = dict.fromkeys(
        each["rule"] for each in decision["reasons"] if each["action"] == decision["action"]
    )
    why = f" by {', '.join(rules)}" if rules else ", broken off"
    left = told.get("stream", {}).get("emitted_seconds")
    heard = f"; {left:.1f} s had left as a stream" if left else ""
    return f"; it was refused{why} and never released{heard}"
