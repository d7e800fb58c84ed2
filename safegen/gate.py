"""May this output leave the house?

The gate runs these steps in this order, for every output, whoever made it:

 1. admit: prompt rules and the model's license, before anything is generated
 2. generate, or take the sound that was made elsewhere
 3. listen to the PCM: catalog match, compositions, memorization, synthetic score
 4. decide early: what is refused already is not marked
 5. embed the watermark, and AudioSeal's under it where its weights are installed
 6. encode to the final format, with tags
 7. sign with C2PA, in staging
 8. read the finished file back: decode, compare, detect the marks, validate C2PA
 9. decide: a required check that did not pass has not passed
10. log: refused outputs end here, in the log and nowhere else (quarantine: and there)
11. publish: commit record and log entry, link into the output folder, put the receipt
    beside it, log ``released``

A check that raises or runs out of time is an outcome, not an accident: the policy says
what follows, and in ``strict`` that is a refusal.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detectors import chromaprint
from detectors.audioseal import AudioSeal, message
from detectors.base import WatermarkFinding
from detectors.composition import NotComparableError
from detectors.memorization import MemorizationFinding
from detectors.synthetic.finding import SyntheticFinding
from registry import catalog, schema
from registry.catalog import NewFingerprint
from registry.releases import NewOutput
from registry.session import Database
from safegen import memorization, policy, second_mark, watermark
from safegen.audio import Audio, FileFormat, checked, encode, pcm_sha256
from safegen.checking import CHECK_SECONDS, SEARCH_SECONDS, VARIANT_SECONDS, run_check
from safegen.config import Config, from_environment
from safegen.errors import ReleaseBlockedError
from safegen.generation.base import Generation, Generator, ModelFacts, Request
from safegen.generation.requests import check_text, texts
from safegen.kept import kept_of, plain_of
from safegen.licensing import licensed_compositions, licensed_matches, owed
from safegen.matching import CatalogMatcher, Prints, Scan, prints_of
from safegen.policy import Action, CheckResult, Outcome, Policy
from safegen.provenance import c2pa, receipts, record
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.publishing import Publisher, Stage
from safegen.readback import ReadBack, read_back
from safegen.recording import (
    WATERMARK_ALGORITHM,
    Finished,
    Item,
    Judgement,
    LicensedComposition,
    LicensedMatch,
    Release,
    body,
    model_row,
    now,
    payload_hex,
    row,
)
from safegen.requested import keep, public, this_build
from safegen.synthesis import classifier_of


@dataclass(slots=True)
class _Case:
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


class Gate:
    """The release gate of one installation.

    Use ``Gate.open``. A gate is not shared between processes; open one in each.
    """

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
        self._policy = judge
        self._quarantine = quarantine
        self._classify = classify
        self._second = second
        self._inflation = inflation
        self._models = models
        self._scan = scan
        self._on_step = on_step or (lambda _: None)
        self.log = open_log(database, keys)
        self.mark_keys = keys.watermark_keys()
        self.mark_key = keys.current_watermark_key()
        self._manifest_key = keys.manifest_key()
        self._trust_anchors = keys.trust_anchors()
        self.publisher = Publisher(database, self.log, on_step=self._on_step, now=now)
        self.matcher = CatalogMatcher(database, index_folder=index_folder)
        self._swept: set[Path] = set()

    @classmethod
    def open(
        cls,
        home: Path | None = None,
        *,
        policy_name: str = "strict",
        scan: Scan = Scan.PLAIN,
        on_step: Callable[[str], None] | None = None,
    ) -> "Gate":
        """Open the gate of an installation and finish what dead processes left.

        Args:
            home: The state folder; None reads ``SAFEGEN_HOME`` and
                ``SAFEGEN_DATABASE_URL``, as the command line does.
            policy_name: "strict", "standard", "permissive", or a policy file's path.
            scan: How thoroughly each output is compared with the catalog.
            on_step: Called with the name of each step done.

        Raises:
            SafegenError: If keys or database are missing; the remedy names the command.
            IntegrityError: If AudioSeal's weights are there and damaged.
        """
        environment = dict(os.environ)
        if home is not None:
            environment["SAFEGEN_HOME"] = str(home)
        config: Config = from_environment(environment)
        keys = KeyStore(config.keys)
        keys.log_origin()  # before anything is opened: without keys nothing is promised
        gate = cls(
            database=schema.open_database(config.database_url),
            keys=keys,
            judge=policy.load(policy_name, config.policies),
            quarantine=config.quarantine,
            classify=classifier_of(config),
            second=second_mark.from_home(config),
            inflation=watermark.inflation_of(config),
            index_folder=config.index,
            models=config.models,
            scan=scan,
            on_step=on_step,
        )
        gate.publisher.recover()
        return gate

    def release(
        self,
        waveform: npt.ArrayLike,
        sample_rate: int,
        *,
        out: Path,
        generator: str,
        prompt: str | None = None,
        file_format: FileFormat = "wav",
    ) -> Release:
        """Release sound that somebody else's generator made.

        Args:
            waveform: Shape (channels, samples) or (samples,), floats in [-1, 1]; a
                numpy array or anything numpy converts, such as a CPU tensor.
            sample_rate: In Hz.
            out: Output folder; made if missing.
            generator: Name and version of the generator, as it shall be recorded.
            prompt: What the user asked for, None if untold; recorded as a commitment only.
            file_format: "wav", "flac" or "mp3".

        Raises:
            ReleaseBlockedError: If the policy refuses; the refusal is logged.
            InputError: If the waveform holds NaN, no channel or no sample.
        """
        numbers = np.atleast_2d(np.asarray(waveform, dtype=np.float32))
        audio = checked(numbers, sample_rate, name="waveform")
        facts = ModelFacts(name=generator, version="unknown", license="unknown")
        found = self.submit(audio, facts, out=out, prompt=prompt, file_format=file_format)
        return _raise_if_refused(found)

    def submit(
        self,
        audio: Audio,
        facts: ModelFacts,
        *,
        out: Path,
        prompt: str | None = None,
        file_format: FileFormat = "wav",
        source_name: str = "",
    ) -> Release:
        """Judge foreign sound; like ``release``, but a refusal is returned, not raised."""
        case = self._admit(facts, prompt=prompt, seed=None, source_name=source_name)
        generation = Generation(
            audio=audio,
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=np.zeros((0, 0), np.int64),
        )
        self._refuse_marked(case, audio, search=True)
        return self._judge(case, generation, out=out, file_format=file_format)

    def generate(
        self,
        generator: Generator,
        request: Request,
        *,
        out: Path,
        file_format: FileFormat = "wav",
        progress: Callable[[float], None] | None = None,
        device: str = "cpu",
        keep_in: Path | None = None,
    ) -> Release:
        """Generate one item and judge it; a refusal is returned, not raised.

        A prompt that the policy refuses is logged and never generated; so is a request
        whose negative prompt or story it refuses.

        Args:
            generator: That makes the sound.
            request: What is wanted.
            out: Output folder; made if missing.
            file_format: "wav", "flac" or "mp3".
            progress: Called with the share done, in [0, 1].
            device: Where the generator computes, "cpu" or "cuda", as it shall be recorded.
            keep_in: Private folder in which the request is kept for a replay, before there
                is a record of it; None keeps nothing but the record's commitments.
        """
        case = self._admit(
            generator.facts, prompt=request.prompt, seed=request.seed, request=request
        )
        early = self._decide(case, final=False)
        if not early.decision.is_release:
            return self._refuse(case, early, audio=None)
        with _timed(case, "generate"):
            generation = generator.generate(request, progress=progress)
        case.item = dataclasses.replace(case.item, build=this_build(device))
        if keep_in is not None:
            keep(request, keep_in, record_id=case.item.record_id)
        self._refuse_marked(case, generation.audio, search=False)
        self._on_step("generated")
        return self._judge(case, generation, out=out, file_format=file_format)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    # 1 ------------------------------------------------------------------------------

    def _admit(
        self,
        facts: ModelFacts,
        *,
        prompt: str | None,
        seed: int | None,
        request: Request | None = None,
        source_name: str = "",
    ) -> _Case:
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
        case = _Case(item=item)
        read = [text for _, text in others]
        self._check(case, "prompt", lambda: self._judge_prompt(prompt, read))
        self._check(case, "model_license", lambda: policy.judge_model(self._policy, facts))
        self._on_step("admitted")
        return case

    def _judge_prompt(self, prompt: str | None, others: Sequence[str]) -> CheckResult:
        with self.database.read() as session:
            names = catalog.names(session)
        return policy.judge_prompt(self._policy, prompt, names, others=others)

    # 2 to 11 -----------------------------------------------------------------------

    def _judge(
        self, case: _Case, generation: Generation, *, out: Path, file_format: FileFormat
    ) -> Release:
        out = out.absolute()
        audio = generation.audio
        case.item = dataclasses.replace(
            case.item,
            seconds=audio.seconds,
            pcm_sha256=pcm_sha256(audio),
        )

        # 3 Listen to the sound as it was made.
        searching = (self._scan.variants - 1) * VARIANT_SECONDS * audio.seconds
        self._check(
            case,
            "catalog_match",
            lambda: self._listen_catalog(case, audio),
            limit_seconds=CHECK_SECONDS + searching,
        )
        self._check(
            case,
            policy.COMPOSITION,
            lambda: self._listen_compositions(case),
            limit_seconds=CHECK_SECONDS + SEARCH_SECONDS * (self._scan is Scan.DEEP),
        )
        self._check(case, "memorization", lambda: self._listen_memory(case, generation))
        self._check(case, "synthetic", lambda: self._listen_synthetic(case, audio))
        self._on_step("listened")

        # 4 What is refused already is not marked.
        early = self._decide(case, final=False)
        if not early.decision.is_release:
            return self._refuse(case, early, audio=audio)
        self._on_step("decided-early")

        if out not in self._swept:
            out.mkdir(parents=True, exist_ok=True)
            self.publisher.recover(out)
            self._swept.add(out)
        with self.publisher.stage(case.item.record_id, out) as stage:
            return self._finish(case, audio, stage, out=out, file_format=file_format)

    def _finish(
        self, case: _Case, audio: Audio, stage: Stage, *, out: Path, file_format: FileFormat
    ) -> Release:
        # 5 The mark: a random id that means nothing without the log.
        key = self.mark_key
        payload = secrets.randbits(64)
        with _timed(case, "mark"):
            first = self._with_second_mark(audio, payload=payload, key=key.secret)
            day = watermark.epoch_of(case.item.time)
            marked = watermark.embed(first, payload=payload, key=key.secret, epoch=day)
        self._on_step("marked")

        # 6 The final format; tags before the signature, which covers them.
        unsigned = stage.folder / f"unsigned.{file_format}"
        with _timed(case, "encode"):
            unsigned.write_bytes(encode(marked, file_format, tags=_tags(case)))
        self._on_step("encoded")

        # 7 Content Credentials, in staging.
        with _timed(case, "sign"):
            c2pa.sign(
                unsigned,
                stage.final,
                file_format=file_format,
                claim=self._claim(case, payload),
                key=self._manifest_key,
                trust_anchors=self._trust_anchors,
            )
        self._on_step("signed")

        # 8 Like a stranger would: from the bytes on disk.
        with _timed(case, "read-back"):
            back = read_back(stage.final, marked)
        mark = self._check_file(case, stage, back, payload)
        self._check_second_mark(case, back, payload=payload, key=key.secret)
        self._on_step("read-back")

        # 9 Every required check must have passed.
        path = out / f"safegen-{case.item.record_id}.{file_format}"
        finished = Finished(
            path=path,
            sha256=back.sha256,
            file_format=file_format,
            sample_rate=back.audio.sample_rate,
            channels=back.audio.waveform.shape[0],
            payload=payload,
            key_id=key.key_id,
            mark=mark,
            c2pa_state=str(case.checks["c2pa"].evidence.get("state", "unreadable")),
            fingerprint=chromaprint.from_blob(plain_of(case.kept)),
        )
        judgement = self._decide(case, final=True)
        self._on_step("decided")
        if not judgement.decision.is_release:
            # 10 Refused after all; the staged file goes with its folder.
            return self._refuse(case, judgement, audio=audio)

        # 11 Log first, then link.
        output = _row(case, judgement, finished, state="prepared")
        with _timed(case, "publish"):
            position = self.publisher.publish(stage, path, output, model_row(case.item.facts))

        with self.database.read() as session:
            size = self.log.size(session)
        return self._result(case, judgement, finished, position, size, receipts.sidecar(path))

    # 3 ------------------------------------------------------------------------------

    def _listen_catalog(self, case: _Case, audio: Audio) -> CheckResult:
        case.prints = prints_of(audio)
        matches = self.matcher.match_prints(case.prints, deep=self._scan is Scan.DEEP)
        with self.database.read() as session:
            case.matches = licensed_matches(
                session, matches, at=case.item.time, policy=self._policy
            )
        covered = frozenset(found.match.work_id for found in case.matches if found.license_id)
        result = policy.judge_matches(self._policy, matches, covered)
        quoted = frozenset(policy.counted_matches(self._policy, matches))
        return dataclasses.replace(
            result,
            detail=result.detail + _thoroughly(self._scan),
            evidence={**result.evidence, "scan": self._scan.to_json()},
            owed=owed(case.matches, quoted),
        )

    def _listen_compositions(self, case: _Case) -> CheckResult:
        """Look for works whose notes are played, in other recordings than the catalog's."""
        if case.prints is None:
            return policy.compositions_not_compared("the sound was not heard for the catalog")
        try:
            found = self.matcher.compositions_prints(case.prints, deep=self._scan is Scan.DEEP)
        except NotComparableError as error:
            return policy.compositions_not_compared(str(error))
        with self.database.read() as session:
            case.compositions = licensed_compositions(
                session, found, at=case.item.time, policy=self._policy
            )
        return policy.judge_compositions(
            self._policy,
            [each.match for each in case.compositions],
            licensed=frozenset(each.match.work_id for each in case.compositions if each.terms),
            quoted=frozenset(
                policy.counted_matches(self._policy, [each.match for each in case.matches])
            ),
        )

    def _listen_memory(self, case: _Case, generation: Generation) -> CheckResult:
        items = memorization.for_model(case.item.facts, models=self._models)
        if items is None:
            return policy.judge_memorization(self._policy, None)
        case.memorization = memorization.examine(generation, items)
        return policy.judge_memorization(self._policy, case.memorization)

    def _listen_synthetic(self, case: _Case, audio: Audio) -> CheckResult:
        case.synthetic = self._classify(audio)
        # The mark is still to come; the file's read-back settles this (step 8).
        return self._judge_synthetic(case, marked=None)

    def _judge_synthetic(self, case: _Case, *, marked: bool | None) -> CheckResult:
        if case.synthetic is None:
            msg = "the sound was not classified"
            raise ValueError(msg)
        return policy.judge_synthetic(self._policy, case.synthetic, marked=marked)

    def _refuse_marked(self, case: _Case, audio: Audio, *, search: bool) -> None:
        """Fail the watermark check of a sound that carries our mark already."""

        def hear() -> CheckResult:
            finding = watermark.detect(
                audio, keys=self.mark_keys, search=search, inflation=self._inflation
            )
            if not finding.detected:
                return CheckResult(name="watermark", outcome=Outcome.PASS, detail="not marked yet")
            return CheckResult(
                name="watermark",
                outcome=Outcome.FAIL,
                score=finding.p_value,
                detail="the sound carries our mark already; marking twice would hide its origin",
            )

        self._check(case, "watermark", hear)
        if case.checks["watermark"].outcome is Outcome.PASS:
            del case.checks["watermark"]  # no mark yet: the real check is the read-back

    # 5 ------------------------------------------------------------------------------

    def _with_second_mark(self, audio: Audio, *, payload: int, key: bytes) -> Audio:
        if self._second is None:
            return audio
        waveform = self._second.embed(audio.waveform, audio.sample_rate, payload=payload, key=key)
        return dataclasses.replace(audio, waveform=waveform)

    # 8 ------------------------------------------------------------------------------

    def _check_file(
        self, case: _Case, stage: Stage, back: ReadBack, payload: int
    ) -> WatermarkFinding | None:
        found: list[WatermarkFinding] = []

        def detect() -> CheckResult:
            found.append(
                watermark.detect(
                    back.audio, keys=self.mark_keys, search=False, inflation=self._inflation
                )
            )
            return policy.judge_watermark(self._policy, found[0], payload)

        def content() -> CheckResult:
            case.kept = kept_of(prints_of(back.audio))
            return policy.judge_readback(self._policy, back.agreement)

        def credentials() -> CheckResult:
            manifest = c2pa.read(stage.final, trust_anchors=self._trust_anchors)
            return policy.judge_c2pa(self._policy, manifest, record_id=case.item.record_id)

        self._check(case, "watermark", detect)
        self._check(case, "readback", content)
        self._check(case, "c2pa", credentials)
        if case.synthetic is not None:
            marked = case.checks["watermark"].outcome is Outcome.PASS
            self._check(case, "synthetic", lambda: self._judge_synthetic(case, marked=marked))
        return found[0] if found else None

    def _check_second_mark(self, case: _Case, back: ReadBack, *, payload: int, key: bytes) -> None:
        second = self._second
        if second is None:
            return  # not installed: the check does not exist here, which doctor tells

        def hear() -> CheckResult:
            return policy.judge_second_mark(
                self._policy,
                second.heard(back.audio.waveform, back.audio.sample_rate),
                message=message(payload, key),
                weights_sha256=second.weights_sha256,
            )

        # A network that listens to stereo takes a quarter of its length on a slow core.
        limit = max(CHECK_SECONDS, back.audio.seconds)
        self._check(case, policy.SECOND_MARK, hear, limit_seconds=limit)

    # 9, 10 --------------------------------------------------------------------------

    def _decide(self, case: _Case, *, final: bool) -> Judgement:
        checks = tuple(case.checks.values())
        decide = policy.decide if final else policy.decide_early
        decision = decide(self._policy, checks)
        return Judgement(
            policy=self._policy,
            decision=decision,
            checks=checks,
            matches=case.matches,
            memorization=case.memorization,
            scan=self._scan,
            compositions=case.compositions,
            synthetic=case.synthetic,
        )

    def _refuse(self, case: _Case, judgement: Judgement, *, audio: Audio | None) -> Release:
        blocked = judgement.decision.action is Action.BLOCK
        if audio is not None and not case.kept:
            case.kept = kept_of(case.prints or prints_of(audio))
        if audio is not None and not blocked:
            self._withhold(case.item.record_id, audio)
        output = _row(case, judgement, None, state="blocked" if blocked else "quarantined")
        with _timed(case, "publish"):
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

    def _check(
        self,
        case: _Case,
        name: str,
        check: Callable[[], CheckResult],
        *,
        limit_seconds: float = CHECK_SECONDS,
    ) -> None:
        with _timed(case, name):
            case.checks[name] = run_check(name, check, limit_seconds=limit_seconds)

    def salt(self, record_id: str, name: str = "prompt") -> bytes:
        """Derive the salt under which a record commits to a private value, its prompt first."""
        return record.commitment_salt(self._commitment_key, record_id=record_id, name=name)

    def _claim(self, case: _Case, payload: int) -> c2pa.ClaimFacts:
        return c2pa.ClaimFacts(
            record_id=case.item.record_id,
            title=f"Generated audio {case.item.record_id}",
            model=case.item.facts.name,
            policy_name=self._policy.name,
            policy_sha256=self._policy.sha256,
            watermark_algorithm=WATERMARK_ALGORITHM,
            watermark_payload=payload_hex(payload),
            origin="generated",
            software_version=_version(),
            quotations=_quotations(case),
        )

    def _result(
        self,
        case: _Case,
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
        )


def _row(case: _Case, judgement: Judgement, finished: Finished | None, *, state: str) -> NewOutput:
    return row(
        case.item,
        judgement,
        finished,
        state=state,
        kept=case.kept,
        entry=record.seal(body(case.item, judgement, finished, version=_version()), private=()),
    )


def _thoroughly(scan: Scan) -> str:
    return f" ({scan} scan, {scan.variants} variants)" if scan is Scan.DEEP else ""


def _raise_if_refused(found: Release) -> Release:
    if found.is_released:
        return found
    worst = found.judgement.decision.reasons[0]
    raise ReleaseBlockedError(worst.rule, worst.problem, record_id=found.item.record_id)


def _tags(case: _Case) -> dict[str, str]:
    """What every player can show; the prompt is private and stays out."""
    item = case.item
    lines = [f"AI-generated with {item.facts.name}; safegen record {item.record_id}"]
    lines += [each.attribution for each in _quotations(case) if each.attribution]
    return {
        "title": f"Generated audio {item.record_id}",
        "comment": "; ".join(dict.fromkeys(lines)),
        "software": f"safegen {_version()}",
    }


def _quotations(case: _Case) -> tuple[c2pa.Quotation, ...]:
    """Name what the file quotes under licenses that oblige to something, each work once."""
    result = case.checks.get("catalog_match")
    licensed = result.evidence.get("licensed") if result else None
    quoted = licensed if isinstance(licensed, list) else []
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
        for each in case.matches
        if each.terms is not None and each.terms.obligations and each.match.work_id in quoted
    }
    return tuple(found.values())


@contextlib.contextmanager
def _timed(case: _Case, name: str) -> Iterator[None]:
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
