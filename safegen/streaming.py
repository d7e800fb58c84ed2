"""May a sound be heard while it is still being made?

The steps are those of the gate, in another order, so that what a listener has heard was
marked, compared and in the log before:

1. admit, as always
2. take the next piece from the generator, and mark it
3. compare what was made with the catalog and the training items; a failure ends the stream
4. before the first sample leaves: log that the stream is opened, with the id of its mark
5. let out what lies far enough behind the end of what was compared
6. at the end judge the whole like any other output, publish its file and its record, and
   only then let the rest out

What leaves stays behind what was compared by the policy's ``streaming.hold_back_seconds``.
A sound too short to be compared with works and training items may leave only as far as it
is too short to be a quotation; any other check without an answer holds everything back. So
nothing leaves after a refusal, and of a quotation less than the policy calls one.

A stream that is left alone, or whose process dies, stays in the log as broken off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from detectors.agreement import LEAST_OVERLAP_SECONDS
from detectors.base import Waveform
from safegen import policy
from safegen.audio import Audio, FileFormat
from safegen.errors import InputError, ReleaseBlockedError
from safegen.generation.base import Generation, Pieces, joined
from safegen.matching import LEAST_SECONDS
from safegen.policy import CheckResult, Outcome
from safegen.publishing import Stage, note_heard
from safegen.recording import Release
from safegen.steps import Case, MarkedPieces, Steps, heard, timed

COMPARED_SECONDS: Final = max(LEAST_SECONDS, LEAST_OVERLAP_SECONDS)
"""Less than this cannot be compared with works and training items, or not in every way."""
_COMPARE: Final = frozenset({"catalog_match", "memorization"})
STEP_SECONDS: Final = 0.5
"""How much is made between two comparisons."""
LEAST_CHUNK_SECONDS: Final = 0.25
"""Less than this waits for the next comparison: a player would run dry after it."""
WINDOW_SECONDS: Final = 20.0
"""How much of a long stream is compared while it is made; at its end all of it is."""


class ReleaseStream(Iterator[Audio]):
    """One output on its way out, piece by piece; iterate to hear it.

    Each item is the sound that follows the item before it: marked, compared, logged. The
    file in the output folder holds the same samples. ``Gate.stream`` and
    ``Gate.release_stream`` open such streams; each runs once.

    Iterating raises ``ReleaseBlockedError`` where the policy refuses; nothing leaves
    afterwards. Leaving the ``with`` block early breaks the stream off.
    """

    def __init__(
        self,
        steps: Steps,
        case: Case,
        pieces: Pieces,
        *,
        out: Path,
        file_format: FileFormat,
    ) -> None:
        self._steps, self._case, self._pieces = steps, case, pieces
        self._out, self._file_format = out.absolute(), file_format
        self._made: list[Generation] = []
        self._marked: list[Waveform] = []
        self._seconds = 0.0
        self._emitted = 0
        self._is_known_unmarked = False
        self._release: Release | None = None
        self._running = self._run()

    @property
    def release(self) -> Release:
        """What the gate did with it.

        Raises:
            ValueError: If it has not ended, or was broken off before anything left.
        """
        if self._release is None:
            msg = "the stream has not ended, or nothing of it left"
            raise ValueError(msg)
        return self._release

    @property
    def record_id(self) -> str:
        """Of its record, before there is one."""
        return self._case.item.record_id

    def __next__(self) -> Audio:
        """Give what may leave next.

        Raises:
            ReleaseBlockedError: If the policy refuses; the refusal is logged.
        """
        return next(self._running)

    def __enter__(self) -> ReleaseStream:
        """Break it off when the block is left."""
        return self

    def __exit__(self, *_: object) -> None:
        """Break it off if it has not ended."""
        self.close()

    def close(self) -> None:
        """Break it off if it has not ended; what left stays in the log."""
        self._running.close()

    def _run(self) -> Generator[Audio, None, None]:
        steps, case = self._steps, self._case

        # 1 What is refused already is never made.
        early = steps.decide(case, final=False)
        if not early.decision.is_release:
            self._release = steps.refuse(case, early, audio=None)
            raise refusal(self._release)

        steps.prepare(self._out)
        with steps.publisher.stage(case.item.record_id, self._out) as stage:
            try:
                # 2 to 5 While it is made.
                for _ in self._compared():
                    yield from self._ready(stage)
                # 6 The whole.
                self._release = self._judged(stage)
            except BaseException:  # of a listener who leaves, too: what left must be in the log
                if steps.publisher.is_open(case.item.record_id):
                    self._release = self._broken_off()
                raise
        if not self._release.is_released:
            raise refusal(self._release)
        yield from self._until(sum(x.shape[1] for x in self._marked), stage=None)

    # 2, 3 ---------------------------------------------------------------------------

    def _compared(self) -> Iterator[None]:
        """Take pieces, and tell whenever what was made has been compared and may go on."""
        marks: MarkedPieces | None = None
        compared_until = 0.0
        # Before so much is made nothing can leave, so nothing need be known of it.
        least = self._steps.policy.streaming.hold_back_seconds + LEAST_CHUNK_SECONDS
        with closing(self._pieces):
            while True:
                with timed(self._case, "generate"):
                    piece = next(self._pieces, None)
                if piece is None:
                    break
                self._take(piece)
                with timed(self._case, "mark"):
                    marks = marks or self._steps.mark_pieces(self._case, piece.audio.sample_rate)
                    self._marked.append(marks.feed(piece.audio.waveform))
                if self._seconds - compared_until < STEP_SECONDS or self._seconds < least:
                    continue
                compared_until = self._seconds
                self._listen()
                if any(self._ends_it(check) for check in self._case.checks.values()):
                    return
                yield
        if marks is None or not self._seconds:
            raise InputError(
                f"{self._case.item.facts.name} made no sound", remedy="Ask for a longer one."
            )
        self._marked.append(marks.finish())
        self._steps.on_step("generated")

    def _take(self, piece: Generation) -> None:
        first = self._made[0] if self._made else piece
        shape, rate = piece.audio.waveform.shape, piece.audio.sample_rate
        if rate != first.audio.sample_rate or shape[0] != first.audio.waveform.shape[0]:
            raise InputError(
                f"a piece of {shape[0]} channels at {rate} Hz follows one of "
                f"{first.audio.waveform.shape[0]} at {first.audio.sample_rate} Hz",
                remedy="Let all pieces have one rate and as many channels.",
            )
        self._made.append(piece)
        self._seconds += piece.audio.seconds

    def _listen(self) -> None:
        """Compare what was made last."""
        recent, seconds = list[Generation](), 0.0
        while len(recent) < len(self._made) and seconds < WINDOW_SECONDS:
            recent.insert(0, self._made[-1 - len(recent)])
            seconds += recent[0].audio.seconds
        # Scores come with the first piece, whatever part of the sound is compared.
        window = dataclasses.replace(
            joined(recent),
            plan_json=self._made[0].plan_json,
            plan_tokens=self._made[0].plan_tokens,
        )
        if not self._is_known_unmarked and self._seconds >= LEAST_SECONDS:
            self._steps.refuse_marked(self._case, window.audio, search=False)
            self._is_known_unmarked = True
        self._steps.listen(self._case, window, is_whole=False)
        self._steps.on_step("listened")

    def _ends_it(self, check: CheckResult) -> bool:
        """Whether a check failed, which no further second can mend."""
        found = policy.decide_early(self._steps.policy, [check])
        return check.outcome is Outcome.FAIL and not found.is_release

    # 4, 5 ---------------------------------------------------------------------------

    def _ready(self, stage: Stage) -> Iterator[Audio]:
        """Let out what may leave by what is known now."""
        rules = self._steps.policy
        behind = self._seconds - rules.streaming.hold_back_seconds
        checks = list(self._case.checks.values())
        if self._seconds < COMPARED_SECONDS:
            checks = [x for x in checks if x.name not in _COMPARE or x.outcome is Outcome.FAIL]
            behind = min(behind, rules.catalog_match.min_match_seconds)
        if policy.decide_early(rules, checks).is_release:
            rate = self._made[0].audio.sample_rate
            until = min(round(behind * rate), sum(x.shape[1] for x in self._marked))
            if until - self._emitted >= LEAST_CHUNK_SECONDS * rate:
                yield from self._until(until, stage=stage)

    def _until(self, until: int, *, stage: Stage | None) -> Iterator[Audio]:
        """Let out the marked samples before ``until``, if there are any that have not left.

        Until there is a file, the staging folder has what left, in case the process dies.
        """
        if until <= self._emitted:
            return
        if self._case.stream is None:
            self._steps.open_stream(self._case, out=self._out, file_format=self._file_format)
        waveform = np.concatenate(self._marked, axis=1)
        self._marked = [waveform]
        rate = self._made[0].audio.sample_rate
        chunk = Audio(waveform=waveform[:, self._emitted : until].copy(), sample_rate=rate)
        self._emitted = until
        if stage is not None:
            note_heard(stage, chunk)
        yield chunk

    # 6 ------------------------------------------------------------------------------

    def _judged(self, stage: Stage) -> Release:
        """Judge what was made to its end, or until a check failed."""
        steps, case = self._steps, self._case
        whole = self._heard()
        ended = not any(self._ends_it(check) for check in case.checks.values())
        self._note(is_whole=ended)
        if ended:
            steps.refuse_marked(case, whole, search=False)
            steps.listen(case, joined(self._made))
            steps.on_step("listened")
        early = steps.decide(case, final=False)
        if not early.decision.is_release:
            return steps.refuse(case, early, audio=whole)
        steps.on_step("decided-early")
        marked = Audio(waveform=np.concatenate(self._marked, axis=1), sample_rate=whole.sample_rate)
        return steps.finish(
            case, whole, marked, stage, out=self._out, file_format=self._file_format
        )

    def _broken_off(self) -> Release:
        """Log that nothing more comes of what has left already."""
        steps, case = self._steps, self._case
        whole = self._heard()
        self._note(is_whole=False)
        case.checks["readback"] = CheckResult(
            name="readback",
            outcome=Outcome.SKIPPED,
            detail=f"the stream was broken off after {whole.seconds:.2f} s; no file was made",
        )
        return steps.refuse(case, steps.decide(case, final=False), audio=whole)

    def _heard(self) -> Audio:
        whole = joined(self._made).audio
        heard(self._case, whole)
        self._case.prints = None  # those of a part
        return whole

    def _note(self, *, is_whole: bool) -> None:
        if self._case.stream is not None:
            self._case.stream = dataclasses.replace(
                self._case.stream,
                emitted_seconds=self._emitted / self._made[0].audio.sample_rate,
                is_whole=is_whole,
            )


def refusal(release: Release) -> ReleaseBlockedError:
    """Make the error of a release that was refused."""
    worst = release.judgement.decision.reasons[0]
    return ReleaseBlockedError(worst.rule, worst.problem, record_id=release.item.record_id)
