"""What are the steps that every output takes through the gate, one at a time?

``safegen.gate`` puts them in order for a sound that is whole, ``safegen.streaming`` for one
that is heard while it is made. The numbers are those of the gate's list.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np

from detectors import chromaprint
from detectors.audioseal import AudioSeal, message
from detectors.base import WatermarkFinding, Waveform
from detectors.composition import NotComparableError
from detectors.memorization import MemorizationFinding
from detectors.synthetic.finding import SyntheticFinding
from registry import catalog
from registry.catalog import NewFingerprint
from registry.releases import NewOutput
from registry.session import Database
from safegen import memorization, policy, watermark
from safegen.audio import Audio, FileFormat, encode, pcm_sha256
from safegen.checking import CHECK_SECONDS, SEARCH_SECONDS, VARIANT_SECONDS, run_check
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.generation.requests import check_text, texts
from safegen.input_sounds import InputSounds
from safegen.kept import kept_of, plain_of
from safegen.licensing import licensed_compositions, licensed_matches, owed
from safegen.matching import CatalogMatcher, Prints, Scan, prints_of
from safegen.overlapping import Overlapping
from safegen.policy import Action, CheckResult, Outcome, Policy
from safegen.provenance import c2pa, receipts, record
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.publishing import Publisher, Stage
from safegen.readback import ReadBack, read_back
from safegen.recording import (
    UNLOGGED,
    WATERMARK_ALGORITHM,
    Finished,
    Item,
    Judgement,
    LicensedComposition,
    LicensedMatch,
    Release,
    StreamFacts,
    body,
    model_row,
    now,
    opening,
    opening_row,
    payload_hex,
    row,
)
from safegen.requested import public

_AROUND_SECOND_MARK_SECONDS: Final = 1.0
"""What AudioSeal's networks are given around a stretch of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMark:
    """The mark of one output: a random id that means nothing without the log.

    Attributes:
        payload: In [0, 2**64).
        key_id: Of the watermark key.
        secret: That key.
        epoch: Word of the presence layer: the day of admission.
    """

    payload: int
    key_id: str
    secret: bytes = field(repr=False)
    epoch: int


class MarkedPieces:
    """Takes a sound piece by piece and gives it marked, a little late.

    Args:
        marks: In the order in which they are made.
    """

    def __init__(self, *marks: Overlapping) -> None:
        self._marks = marks

    def feed(self, waveform: Waveform) -> Waveform:
        """Take the next samples, shape (channels, n); give those that are marked."""
        for mark in self._marks:
            waveform = mark.feed(waveform)
        return waveform

    def finish(self) -> Waveform:
        """Give the rest, after the last samples."""
        rest: Waveform | None = None
        for mark in self._marks:
            fed = None if rest is None else mark.feed(rest)
            rest = mark.finish() if fed is None else np.concatenate([fed, mark.finish()], axis=1)
        if rest is None:
            msg = "no mark is made"
            raise ValueError(msg)
        return rest


@dataclass(slots=True)
class Case:
    """One output on its way through; the only mutable thing in this file."""

    item: Item
    checks: dict[str, CheckResult] = field(default_factory=dict)
    matches: tuple[LicensedMatch, ...] = ()
    compositions: tuple[LicensedComposition, ...] = ()
    memorization: MemorizationFinding | None = None
    synthetic: SyntheticFinding | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    prints: Prints | None = None
    kept: tuple[NewFingerprint, ...] = ()
    mark: NewMark | None = None
    inputs: InputSounds | None = None
    stream: StreamFacts | None = None


class Steps:
    """The steps of one installation; see ``safegen.gate.Gate`` for how to open one."""

    def __init__(
        self,
        *,
        database: Database,
        keys: KeyStore,
        judge: Policy,
        quarantine: Path,
        classify: Callable[[Audio], SyntheticFinding],
        second: AudioSeal | None = None,
        inflation: float | None = None,
        index_folder: Path | None = None,
        models: Path | None = None,
        scan: Scan = Scan.PLAIN,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self.database = database
        self._commitment_key = keys.commitment_key()
        self.policy = judge
        self._quarantine = quarantine
        self._classify = classify
        self._second = second
        self._inflation = inflation
        self._models = models
        self._scan = scan
        self.on_step = on_step or (lambda _: None)
        self.log = open_log(database, keys)
        self.mark_keys = keys.watermark_keys()
        self.mark_key = keys.current_watermark_key()
        self._manifest_key = keys.manifest_key()
        self._trust_anchors = keys.trust_anchors()
        self.publisher = Publisher(database, self.log, on_step=self.on_step, now=now)
        self.matcher = CatalogMatcher(database, index_folder=index_folder)
        self._swept: set[Path] = set()

    def close(self) -> None:
        """Close the database; ``with`` does it as well."""
        self.database.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self.close()

    # 1 ------------------------------------------------------------------------------

    def admit(
        self,
        facts: ModelFacts,
        *,
        prompt: str | None,
        seed: int | None,
        request: Request | None = None,
        source_name: str = "",
        input_files: Mapping[str, Path] | None = None,
    ) -> Case:
        """Open the case of an output: prompt rules, the model's license, what goes into it.

        Raises:
            InputError: If a text is none that a model reads, or a file of ``input_files`` is
                not the sound of the request's field of that name.
        """
        given = request and InputSounds(request, input_files, trust_anchors=self._trust_anchors)
        others = [] if request is None else list(texts(request))[bool(prompt) :]
        for name, text in [("prompt", prompt or ""), *others]:
            check_text(name, text)
        at = now()
        record_id = record.new_record_id(at, secrets.token_bytes(10))
        item = Item(
            record_id=record_id,
            time=at,
            facts=facts,
            prompt_commitment=(
                record.commit("prompt", prompt, salt=self.salt(record_id)) if prompt else ""
            ),
            seed=seed,
            seconds=0.0,
            source_name=source_name,
            request=public(request, salt=functools.partial(self.salt, record_id))
            if request
            else {},
        )
        case = Case(item=item)
        read = [text for _, text in others]
        self.check(case, "prompt", lambda: self._judge_prompt(prompt, read))
        self.check(case, "model_license", lambda: policy.judge_model(self.policy, facts))
        if given:
            self._listen_inputs(case, given)
        self.on_step("admitted")
        return case

    def _listen_inputs(self, case: Case, given: InputSounds) -> None:
        """Compare the sounds that the model is given with the catalog, and with our releases."""
        case.inputs = given
        at, longer = case.item.time, (self._scan.variants - 1) * VARIANT_SECONDS * given.seconds
        self.check(
            case,
            policy.INPUT_MATCH,
            lambda: given.compare(self.matcher, self.database, self.policy, at=at, scan=self._scan),
            limit_seconds=CHECK_SECONDS + longer,
        )
        if given.has_melody:
            self.check(
                case,
                policy.INPUT_COMPOSITION,
                lambda: given.compositions(
                    self.matcher, self.database, self.policy, at=at, scan=self._scan
                ),
                limit_seconds=CHECK_SECONDS + SEARCH_SECONDS * (self._scan is Scan.DEEP),
            )
        given.trace(self.database, self.mark_keys, inflation=self._inflation)

    def _judge_prompt(self, prompt: str | None, others: Sequence[str]) -> CheckResult:
        with self.database.read() as session:
            names = catalog.names(session)
        return policy.judge_prompt(self.policy, prompt, names, others=others)

    # 5 ------------------------------------------------------------------------------

    def mark(self, case: Case, audio: Audio) -> Audio:
        """Mark a whole sound, under AudioSeal's mark where that is installed."""
        new = self.new_mark(case)
        with timed(case, "mark"):
            first = self._with_second_mark(audio, payload=new.payload, key=new.secret)
            marked = watermark.embed(first, payload=new.payload, key=new.secret, epoch=new.epoch)
        self.on_step("marked")
        return marked

    def mark_pieces(self, case: Case, sample_rate: int) -> MarkedPieces:
        """Mark a sound that comes piece by piece, as ``mark`` does the whole."""
        new, second = self.new_mark(case), self._second
        keyed = watermark.embed_pieces(
            sample_rate, payload=new.payload, key=new.secret, epoch=new.epoch
        )
        if second is None:
            return MarkedPieces(keyed)

        def change(waveform: Waveform, _: int) -> Waveform:
            return second.embed(waveform, sample_rate, payload=new.payload, key=new.secret)

        around = round(_AROUND_SECOND_MARK_SECONDS * sample_rate)
        return MarkedPieces(Overlapping(change, margin=around), keyed)

    def new_mark(self, case: Case) -> NewMark:
        """Draw the mark of an output, once."""
        if case.mark is None:
            case.mark = NewMark(
                payload=secrets.randbits(64),
                key_id=self.mark_key.key_id,
                secret=self.mark_key.secret,
                epoch=watermark.epoch_of(case.item.time),
            )
        return case.mark

    # 6 to 11 ------------------------------------------------------------------------

    def prepare(self, out: Path) -> None:
        """Make the output folder and sweep what dead processes left in it, once."""
        if out not in self._swept:
            out.mkdir(parents=True, exist_ok=True)
            self.publisher.recover(out)
            self._swept.add(out)

    def open_stream(self, case: Case, *, out: Path, file_format: FileFormat) -> None:
        """Log an output before its first sample leaves; its case knows then that it is heard.

        Args:
            case: Whose staging folder is owned.
            out: Output folder, absolute.
            file_format: "wav", "flac" or "mp3".
        """
        mark, judgement = self.new_mark(case), self.decide(case, final=False)
        held = self.policy.streaming.hold_back_seconds
        case.stream = StreamFacts(
            opened=UNLOGGED, hold_back_seconds=held, emitted_seconds=0.0, is_whole=False
        )
        path = _destination(case, out, file_format)
        output = opening_row(
            case.item,
            judgement,
            path=path,
            payload=mark.payload,
            key_id=mark.key_id,
            entry=record.seal(
                opening(
                    case.item, judgement, case.stream, payload=mark.payload, version=_version()
                ),
                private=(),
            ),
        )
        with timed(case, "publish"):
            position = self.publisher.open_stream(output, model_row(case.item.facts))
        case.stream = dataclasses.replace(case.stream, opened=position)

    def finish(
        self,
        case: Case,
        audio: Audio,
        marked: Audio,
        stage: Stage,
        *,
        out: Path,
        file_format: FileFormat,
    ) -> Release:
        """Take a marked sound through the last steps, to the file or to a refusal.

        Args:
            case: Judged early.
            audio: As it was made.
            marked: The same with the mark of ``new_mark``.
            stage: Its staging folder.
            out: Output folder, absolute.
            file_format: "wav", "flac" or "mp3".
        """
        mark = self.new_mark(case)

        # 6 The final format; tags before the signature, which covers them.
        unsigned = stage.folder / f"unsigned.{file_format}"
        with timed(case, "encode"):
            unsigned.write_bytes(encode(marked, file_format, tags=_tags(case)))
        self.on_step("encoded")

        # 7 Content Credentials, in staging.
        with timed(case, "sign"):
            c2pa.sign(
                unsigned,
                stage.final,
                file_format=file_format,
                claim=self._claim(case, mark.payload),
                key=self._manifest_key,
                trust_anchors=self._trust_anchors,
                ingredients=case.inputs.ingredients() if case.inputs else (),
            )
        self.on_step("signed")

        # 8 Like a stranger would: from the bytes on disk.
        with timed(case, "read-back"):
            back = read_back(stage.final, marked)
        found = self._check_file(case, stage, back, mark.payload)
        self._check_second_mark(case, back, payload=mark.payload, key=mark.secret)
        self.on_step("read-back")

        # 9 Every required check must have passed.
        path = _destination(case, out, file_format)
        finished = Finished(
            path=path,
            sha256=back.sha256,
            file_format=file_format,
            sample_rate=back.audio.sample_rate,
            channels=back.audio.waveform.shape[0],
            payload=mark.payload,
            key_id=mark.key_id,
            mark=found,
            c2pa_state=str(case.checks["c2pa"].evidence.get("state", "unreadable")),
            fingerprint=chromaprint.from_blob(plain_of(case.kept)),
        )
        judgement = self.decide(case, final=True)
        self.on_step("decided")
        if not judgement.decision.is_release:
            # 10 Refused after all; the staged file goes with its folder.
            return self.refuse(case, judgement, audio=audio)

        # 11 Log first, then link.
        output = _row(case, judgement, finished, state="prepared")
        with timed(case, "publish"):
            position = self.publisher.publish(stage, path, output, model_row(case.item.facts))

        with self.database.read() as session:
            size = self.log.size(session)
        return self._result(case, judgement, finished, position, size, receipts.sidecar(path))

    # 3 ------------------------------------------------------------------------------

    def listen(self, case: Case, generation: Generation, *, is_whole: bool = True) -> None:
        """Run every check that listens to the sound as it was made.

        Args:
            case: Its case.
            generation: What was made, or the last part of it.
            is_whole: If not, the synthetic score waits: a mark is enough for its rule, and
                of a part it says less.
        """
        audio = generation.audio
        searching = (self._scan.variants - 1) * VARIANT_SECONDS * audio.seconds
        self.check(
            case,
            "catalog_match",
            lambda: self._listen_catalog(case, audio),
            limit_seconds=CHECK_SECONDS + searching,
        )
        self.check(
            case,
            policy.COMPOSITION,
            lambda: self._listen_compositions(case),
            limit_seconds=CHECK_SECONDS + SEARCH_SECONDS * (self._scan is Scan.DEEP),
        )
        self.check(case, "memorization", lambda: self._listen_memory(case, generation))
        if is_whole:
            self.check(case, "synthetic", lambda: self._listen_synthetic(case, audio))

    def _listen_catalog(self, case: Case, audio: Audio) -> CheckResult:
        case.prints = prints_of(audio)
        matches = self.matcher.match_prints(case.prints, deep=self._scan is Scan.DEEP)
        with self.database.read() as session:
            case.matches = licensed_matches(session, matches, at=case.item.time, policy=self.policy)
        covered = frozenset(found.match.work_id for found in case.matches if found.license_id)
        result = policy.judge_matches(self.policy, matches, covered)
        quoted = frozenset(policy.counted_matches(self.policy, matches))
        return dataclasses.replace(
            result,
            detail=result.detail + _thoroughly(self._scan),
            evidence={**result.evidence, "scan": self._scan.to_json()},
            owed=owed(case.matches, quoted),
        )

    def _listen_compositions(self, case: Case) -> CheckResult:
        """Look for works whose notes are played, in other recordings than the catalog's."""
        if case.prints is None:
            return policy.compositions_not_compared("the sound was not heard for the catalog")
        try:
            found = self.matcher.compositions_prints(case.prints, deep=self._scan is Scan.DEEP)
        except NotComparableError as error:
            return policy.compositions_not_compared(str(error))
        with self.database.read() as session:
            case.compositions = licensed_compositions(
                session, found, at=case.item.time, policy=self.policy
            )
        return policy.judge_compositions(
            self.policy,
            [each.match for each in case.compositions],
            licensed=frozenset(each.match.work_id for each in case.compositions if each.terms),
            quoted=frozenset(
                policy.counted_matches(self.policy, [each.match for each in case.matches])
            ),
        )

    def _listen_memory(self, case: Case, generation: Generation) -> CheckResult:
        items = memorization.for_model(case.item.facts, models=self._models)
        if items is None:
            return policy.judge_memorization(self.policy, None)
        case.memorization = memorization.examine(generation, items)
        return policy.judge_memorization(self.policy, case.memorization)

    def _listen_synthetic(self, case: Case, audio: Audio) -> CheckResult:
        case.synthetic = self._classify(audio)
        # The mark is still to come; the file's read-back settles this (step 8).
        return self._judge_synthetic(case, marked=None)

    def _judge_synthetic(self, case: Case, *, marked: bool | None) -> CheckResult:
        if case.synthetic is None:
            msg = "the sound was not classified"
            raise ValueError(msg)
        return policy.judge_synthetic(self.policy, case.synthetic, marked=marked)

    def refuse_marked(self, case: Case, audio: Audio, *, search: bool) -> None:
        """Fail the watermark check of a sound that carries our mark already.

        It may be the mark of a release that the model was given: the record names that one, and
        the new mark is read back over the old.
        """
        known = case.inputs.marks if case.inputs else frozenset()

        def hear() -> CheckResult:
            finding = watermark.detect(
                audio, keys=self.mark_keys, search=search, inflation=self._inflation
            )
            is_given = finding.payload in known or (finding.payload is None and known)
            if not finding.detected or is_given:
                return CheckResult(name="watermark", outcome=Outcome.PASS, detail="not marked yet")
            return CheckResult(
                name="watermark",
                outcome=Outcome.FAIL,
                score=finding.p_value,
                detail="the sound carries our mark already; marking twice would hide its origin",
            )

        self.check(case, "watermark", hear)
        if case.checks["watermark"].outcome is Outcome.PASS:
            del case.checks["watermark"]  # no mark yet: the real check is the read-back

    def _with_second_mark(self, audio: Audio, *, payload: int, key: bytes) -> Audio:
        if self._second is None:
            return audio
        waveform = self._second.embed(audio.waveform, audio.sample_rate, payload=payload, key=key)
        return dataclasses.replace(audio, waveform=waveform)

    # 8 ------------------------------------------------------------------------------

    def _check_file(
        self, case: Case, stage: Stage, back: ReadBack, payload: int
    ) -> WatermarkFinding | None:
        found: list[WatermarkFinding] = []

        def detect() -> CheckResult:
            found.append(
                watermark.detect(
                    back.audio, keys=self.mark_keys, search=False, inflation=self._inflation
                )
            )
            return policy.judge_watermark(self.policy, found[0], payload)

        def content() -> CheckResult:
            case.kept = kept_of(prints_of(back.audio))
            return policy.judge_readback(self.policy, back.agreement)

        def credentials() -> CheckResult:
            manifest = c2pa.read(stage.final, trust_anchors=self._trust_anchors)
            return policy.judge_c2pa(self.policy, manifest, record_id=case.item.record_id)

        self.check(case, "watermark", detect)
        self.check(case, "readback", content)
        self.check(case, "c2pa", credentials)
        if case.synthetic is not None:
            marked = case.checks["watermark"].outcome is Outcome.PASS
            self.check(case, "synthetic", lambda: self._judge_synthetic(case, marked=marked))
        return found[0] if found else None

    def _check_second_mark(self, case: Case, back: ReadBack, *, payload: int, key: bytes) -> None:
        second = self._second
        if second is None:
            return  # not installed: the check does not exist here, which doctor tells

        def hear() -> CheckResult:
            return policy.judge_second_mark(
                self.policy,
                second.heard(back.audio.waveform, back.audio.sample_rate),
                message=message(payload, key),
                weights_sha256=second.weights_sha256,
            )

        # A network that listens to stereo takes a quarter of its length on a slow core.
        limit = max(CHECK_SECONDS, back.audio.seconds)
        self.check(case, policy.SECOND_MARK, hear, limit_seconds=limit)

    # 9, 10 --------------------------------------------------------------------------

    def decide(self, case: Case, *, final: bool) -> Judgement:
        """Judge what the checks found so far; ``final`` misses those that did not run."""
        checks = tuple(case.checks.values())
        decide = policy.decide if final else policy.decide_early
        decision = decide(self.policy, checks)
        return Judgement(
            policy=self.policy,
            decision=decision,
            checks=checks,
            matches=case.matches,
            memorization=case.memorization,
            scan=self._scan,
            compositions=case.compositions,
            synthetic=case.synthetic,
            inputs=case.inputs.findings if case.inputs else (),
        )

    def refuse(self, case: Case, judgement: Judgement, *, audio: Audio | None) -> Release:
        """Log a refusal; a quarantined sound is kept for the reviewer.

        Args:
            case: Judged.
            judgement: That refuses it.
            audio: What was made, unmarked; None if nothing was.
        """
        blocked = judgement.decision.action is Action.BLOCK
        if audio is not None and not case.kept:
            case.kept = kept_of(case.prints or prints_of(audio))
        if audio is not None and not blocked:
            self._withhold(case.item.record_id, audio)
        output = _row(case, judgement, None, state="blocked" if blocked else "quarantined")
        with timed(case, "publish"):
            position = self.publisher.refuse(output, model_row(case.item.facts))
        with self.database.read() as session:
            size = self.log.size(session)
        return self._result(case, judgement, None, position, size, None)

    def _withhold(self, record_id: str, audio: Audio) -> None:
        """Keep a quarantined sound for the reviewer, unmarked, readable by the operator alone."""
        self._quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._quarantine / f"{record_id}.flac"
        with open(path, "xb", opener=_private) as file:
            file.write(encode(audio, "flac"))

    # --------------------------------------------------------------------------------

    def check(
        self,
        case: Case,
        name: str,
        check: Callable[[], CheckResult],
        *,
        limit_seconds: float = CHECK_SECONDS,
    ) -> None:
        """Run one check and note its result and its time."""
        with timed(case, name):
            case.checks[name] = run_check(name, check, limit_seconds=limit_seconds)

    def salt(self, record_id: str, name: str = "prompt") -> bytes:
        """Derive the salt under which a record commits to a private value, its prompt first."""
        return record.commitment_salt(self._commitment_key, record_id=record_id, name=name)

    def _claim(self, case: Case, payload: int) -> c2pa.ClaimFacts:
        return c2pa.ClaimFacts(
            record_id=case.item.record_id,
            title=f"Generated audio {case.item.record_id}",
            model=case.item.facts.name,
            policy_name=self.policy.name,
            policy_sha256=self.policy.sha256,
            watermark_algorithm=WATERMARK_ALGORITHM,
            watermark_payload=payload_hex(payload),
            origin="generated",
            software_version=_version(),
            quotations=_quotations(case),
            license=case.item.facts.license,
            license_accepted=case.item.facts.license_accepted,
        )

    def _result(
        self,
        case: Case,
        judgement: Judgement,
        finished: Finished | None,
        position: int,
        tree_size: int,
        receipt: Path | None,
    ) -> Release:
        return Release(
            item=case.item,
            judgement=judgement,
            finished=finished,
            position=position,
            tree_size=tree_size,
            receipt=receipt,
            timings_ms=dict(case.timings_ms),
            stream=case.stream,
        )


def heard(case: Case, audio: Audio) -> None:
    """Note which sound is judged."""
    case.item = dataclasses.replace(case.item, seconds=audio.seconds, pcm_sha256=pcm_sha256(audio))


def _row(case: Case, judgement: Judgement, finished: Finished | None, *, state: str) -> NewOutput:
    return row(
        case.item,
        judgement,
        finished,
        state=state,
        kept=case.kept,
        entry=record.seal(
            body(case.item, judgement, finished, version=_version(), stream=case.stream), private=()
        ),
    )


def _destination(case: Case, out: Path, file_format: FileFormat) -> Path:
    return out / f"safegen-{case.item.record_id}.{file_format}"


def _thoroughly(scan: Scan) -> str:
    return f" ({scan} scan, {scan.variants} variants)" if scan is Scan.DEEP else ""


def _tags(case: Case) -> dict[str, str]:
    """What every player can show; the prompt is private and stays out."""
    item = case.item
    lines = [f"AI-generated with {item.facts.name}; safegen record {item.record_id}"]
    lines += [each.attribution for each in _quotations(case) if each.attribution]
    return {
        "title": f"Generated audio {item.record_id}",
        "comment": "; ".join(dict.fromkeys(lines)),
        "software": f"safegen {_version()}",
    }


def _quotations(case: Case) -> tuple[c2pa.Quotation, ...]:
    """Name what the file quotes or is made from under licenses that oblige, each work once."""
    result = case.checks.get("catalog_match")
    licensed = result.evidence.get("licensed") if result else None
    quoted = licensed if isinstance(licensed, list) else []
    mine = [each for each in case.matches if each.match.work_id in quoted]
    given = case.inputs.quoted if case.inputs else ()
    found = {
        each.match.work_id: c2pa.Quotation(
            work_id=each.match.work_id,
            title=each.title,
            isrc=each.isrc,
            rights_holder=each.rights_holder,
            license=each.terms.name,
            terms_sha256=each.terms.terms_sha256,
            obligations=each.terms.obligations,
            attribution=each.terms.attribution,
        )
        for each in (*mine, *given)
        if each.terms is not None and each.terms.obligations
    }
    return tuple(found.values())


@contextlib.contextmanager
def timed(case: Case, name: str) -> Iterator[None]:
    """Add the wall time of the block to a case."""
    start = time.perf_counter()
    try:
        yield
    finally:
        elapsed = (time.perf_counter() - start) * 1000.0
        case.timings_ms[name] = case.timings_ms.get(name, 0.0) + elapsed


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@functools.cache
def _version() -> str:
    return importlib.metadata.version("safegen")
