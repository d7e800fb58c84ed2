"""What are the sounds that a model is given: whose works are they, and which of them are ours?

A sound that goes in comes out, as its beginning, as a version of it, as its melody. So it
is heard before anything is made, by the same ears as an output, and what is found goes
into the record of the output: the works it quotes, the release of ours whose mark or
manifest it carries, and what its file's manifest is worth.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from detectors.base import Match
from detectors.composition import NotComparableError
from registry import releases
from registry.errors import NotFoundError
from registry.releases import OutputRow
from registry.session import Database
from safegen import policy, watermark
from safegen.audio import Audio, load, pcm_sha256, sha256_file
from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.requests import sounds
from safegen.licensing import licensed_compositions, licensed_matches, owed
from safegen.matching import LEAST_SECONDS, CatalogMatcher, Scan, prints_of
from safegen.policy import CheckResult, Policy
from safegen.provenance import c2pa
from safegen.recording import InputFinding, LicensedMatch, payload_hex

CONTAINED: Final = frozenset({"continue_from", "source"})
"""Inputs that an output holds, or a version of them; the others only guide it."""


class InputSounds:
    """The sounds of one request.

    Args:
        request: That names them.
        files: Field of the request -> the file that its sound was read from; none need be.
        trust_anchors: PEM, for the manifests of the files.

    Raises:
        InputError: If a file cannot be read, or is not the sound of its field.
    """

    def __init__(
        self, request: Request, files: Mapping[str, Path] | None = None, *, trust_anchors: str
    ) -> None:
        self._audio: dict[str, Audio] = dict(sounds(request))
        self._files = dict(files or {})
        self._found = {kind: InputFinding(kind=kind) for kind in self._audio}
        self._marks: frozenset[int] = frozenset()
        self._quoted: tuple[LicensedMatch, ...] = ()
        for kind, path in self._files.items():
            _refuse_other(kind, path, self._audio.get(kind))
            self._note(
                kind,
                file_sha256=sha256_file(path),
                manifest=c2pa.read(path, trust_anchors=trust_anchors),
            )

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._audio)

    @property
    def has_melody(self) -> bool:
        """Whether a melody is among them."""
        return "melody" in self._audio

    @property
    def findings(self) -> tuple[InputFinding, ...]:
        """What was found of each so far."""
        return tuple(self._found.values())

    @property
    def marks(self) -> frozenset[int]:
        """Watermark ids of those that are releases of ours."""
        return self._marks

    @property
    def seconds(self) -> float:
        """Length of all together."""
        return sum(audio.seconds for audio in self._audio.values())

    @property
    def quoted(self) -> tuple[LicensedMatch, ...]:
        """Where works are quoted for long enough to count; known once they were compared."""
        return self._quoted

    def compare(
        self,
        matcher: CatalogMatcher,
        database: Database,
        judge: Policy,
        *,
        at: datetime,
        scan: Scan,
    ) -> CheckResult:
        """Compare each with the catalog: R19."""
        heard: dict[str, tuple[Match, ...]] = {}
        unheard: dict[str, float] = {}
        quoted: list[LicensedMatch] = []
        for kind, audio in self._audio.items():
            if audio.seconds < LEAST_SECONDS:
                unheard[kind] = round(audio.seconds, 3)
                continue
            heard[kind] = matcher.match_prints(prints_of(audio), deep=scan is Scan.DEEP)
            with database.read() as session:
                found = licensed_matches(session, heard[kind], at=at, policy=judge)
            self._note(kind, matches=found)
            counted = policy.counted_matches(judge, heard[kind])
            quoted += [each for each in found if each.match.work_id in counted]
        self._quoted = tuple(quoted)
        covered = frozenset(each.match.work_id for each in quoted if each.terms)
        result = policy.judge_inputs(
            judge, heard, licensed=covered, unheard=unheard, least_seconds=LEAST_SECONDS
        )
        return dataclasses.replace(
            result,
            evidence={
                **result.evidence,
                "scan": scan.to_json(),
                "found": {each.kind: each.stretches_json() for each in self.findings},
            },
            owed=owed(quoted, {each.match.work_id for each in quoted}),
        )

    def compositions(
        self,
        matcher: CatalogMatcher,
        database: Database,
        judge: Policy,
        *,
        at: datetime,
        scan: Scan,
    ) -> CheckResult:
        """Compare the notes of a melody with those of every work: the hint of R18."""
        melody = self._audio["melody"]
        try:
            found = matcher.compositions(melody, deep=scan is Scan.DEEP)
        except NotComparableError as error:
            result = policy.compositions_not_compared(f"the melody: {error}")
            return dataclasses.replace(result, name=policy.INPUT_COMPOSITION)
        with database.read() as session:
            hints = licensed_compositions(session, found, at=at, policy=judge)
        self._note("melody", compositions=hints)
        quoted = policy.counted_matches(
            judge, [each.match for each in self._found["melody"].matches]
        )
        result = policy.judge_compositions(
            judge,
            [each.match for each in hints],
            licensed=frozenset(each.match.work_id for each in hints if each.terms),
            quoted=frozenset(quoted),
        )
        return dataclasses.replace(
            result, name=policy.INPUT_COMPOSITION, detail=f"the melody: {result.detail}"
        )

    def trace(
        self, database: Database, keys: Mapping[str, bytes], *, inflation: float | None
    ) -> None:
        """Find the releases of ours that they are or come from, by mark, bytes or manifest."""
        for kind, audio in self._audio.items():
            mark = watermark.detect(audio, keys=keys, search=False, inflation=inflation)
            finding, manifest = self._found[kind], self._found[kind].manifest
            with database.read() as session:
                leads = []
                if mark.detected and mark.payload is not None:
                    leads.append(
                        ("watermark", releases.find_by_payload(session, payload_hex(mark.payload)))
                    )
                if finding.file_sha256:
                    leads.append(("sha256", releases.find_by_sha256(session, finding.file_sha256)))
                if manifest is not None and manifest.state == "trusted" and manifest.record_id:
                    with contextlib.suppress(NotFoundError):
                        leads.append(("c2pa", releases.get_output(session, manifest.record_id)))
            basis, row = next(((b, r) for b, r in leads if _is_release(r)), ("", None))
            if row is None:
                continue
            self._note(kind, basis=basis, record_id=row.output_id)
            if basis == "watermark" and mark.payload is not None:
                self._marks |= {mark.payload}

    def ingredients(self) -> tuple[c2pa.Ingredient, ...]:
        """Name them for the manifest of the output.

        Raises:
            InputError: If a file is not what it was when the request was admitted.
        """
        for kind, path in self._files.items():
            if sha256_file(path) != self._found[kind].file_sha256:
                raise InputError(
                    f"{path}: the file has changed since it was read",
                    remedy="Leave the files that are given alone until the output is finished.",
                )
        return tuple(
            c2pa.Ingredient(
                name=kind,
                relationship="parentOf" if kind in CONTAINED else "inputTo",
                path=self._files.get(kind),
            )
            for kind in self._audio
        )

    def _note(self, kind: str, **facts: object) -> None:
        self._found[kind] = dataclasses.replace(self._found[kind], **facts)  # type: ignore[arg-type]


def _refuse_other(kind: str, path: Path, audio: Audio | None) -> None:
    """Refuse a file that is not the sound under whose name it is handed over."""
    if audio is None:
        raise InputError(
            f"{path}: given as {kind!r:.40}, which the request has not",
            remedy="Name files by the fields of the request that hold their sounds.",
        )
    found = load(path)
    if found.sample_rate != audio.sample_rate or pcm_sha256(found) != pcm_sha256(audio):
        raise InputError(
            f"{path}: its samples are not those of the request's {kind}",
            remedy="Hand over the very file that the sound was read from, or none.",
        )


def _is_release(row: OutputRow | None) -> bool:
    return row is not None and row.kind == "release" and row.state == "released"
