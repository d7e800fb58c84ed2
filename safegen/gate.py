"""May this output leave the house?

The gate runs these steps in this order, for every output, whoever made it:

 1. admit: prompt rules, the model's license and the sounds that go into it, before
    anything is generated
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

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from registry import schema
from safegen import policy, second_mark, watermark
from safegen.audio import Audio, FileFormat
from safegen.config import Config, from_environment
from safegen.errors import InputError
from safegen.generation.base import (
    Generation,
    Generator,
    ModelFacts,
    Pieces,
    Request,
    pieces_of,
    together,
)
from safegen.matching import Scan
from safegen.provenance.keys import KeyStore
from safegen.recording import (
    Release,
)
from safegen.requested import keep, this_build
from safegen.steps import Case, Steps, heard, timed
from safegen.streaming import ReleaseStream, refusal
from safegen.synthesis import classifier_of
from safegen.waveforms import Batch, Sound, as_audio, as_audios


class Gate(Steps):
    """The release gate of one installation.

    Use ``Gate.open``. A gate is not shared between processes; open one in each.
    """

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
        waveform: Sound,
        sample_rate: int,
        *,
        out: Path,
        generator: str,
        prompt: str | None = None,
        file_format: FileFormat = "wav",
    ) -> Release:
        """Release sound that somebody else's generator made.

        Args:
            waveform: Shape (channels, samples) or (samples,), floats in [-1, 1]; a numpy
                array or a tensor, on any device, of any float precision.
            sample_rate: In Hz.
            out: Output folder; made if missing.
            generator: Name and version of the generator, as it shall be recorded.
            prompt: What the user asked for, None if untold; recorded as a commitment only.
            file_format: "wav", "flac" or "mp3".

        Raises:
            ReleaseBlockedError: If the policy refuses; the refusal is logged.
            InputError: If the waveform is not one sound, or holds NaN or integers.
        """
        audio = as_audio(waveform, sample_rate)
        facts = ModelFacts(name=generator, version="unknown", license="unknown")
        found = self.submit(audio, facts, out=out, prompt=prompt, file_format=file_format)
        return _raise_if_refused(found)

    def release_batch(
        self,
        waveforms: Batch,
        sample_rate: int,
        *,
        out: Path,
        generator: str,
        prompts: Sequence[str | None] | None = None,
        file_format: FileFormat = "wav",
    ) -> list[Release]:
        """Release a batch that somebody else's generator made; each item is judged alone.

        A refused item is returned as refused and does not stop the others.

        Args:
            waveforms: Shape (batch, channels, samples), or a sequence of sounds as
                ``release`` takes them, of any lengths.
            sample_rate: In Hz, of all.
            out: Output folder; made if missing.
            generator: Name and version of the generator, as it shall be recorded.
            prompts: What was asked for, one an item; None if untold.
            file_format: "wav", "flac" or "mp3".

        Returns:
            What became of each, in order.

        Raises:
            InputError: If an item is not one sound, or there is not one prompt for each;
                then none was judged.
        """
        audios = as_audios(waveforms, sample_rate)
        told = [None] * len(audios) if prompts is None else list(prompts)
        if len(told) != len(audios):
            raise InputError(
                f"{len(told)} prompts for {len(audios)} sounds",
                remedy="Give one prompt for each sound, None where there was none.",
            )
        facts = ModelFacts(name=generator, version="unknown", license="unknown")
        return [
            self.submit(audio, facts, out=out, prompt=prompt, file_format=file_format)
            for audio, prompt in zip(audios, told, strict=True)
        ]

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
        case = self.admit(facts, prompt=prompt, seed=None, source_name=source_name)
        self.refuse_marked(case, audio, search=True)
        return self._judge(case, _foreign(audio), out=out, file_format=file_format)

    def generate(
        self,
        generator: Generator,
        request: Request,
        *,
        out: Path,
        file_format: FileFormat = "wav",
        progress: Callable[[float], None] | None = None,
        device: str = "cpu",
        precision: str = "float32",
        keep_in: Path | None = None,
        input_files: Mapping[str, Path] | None = None,
    ) -> Release:
        """Generate one item and judge it; a refusal is returned, not raised.

        A prompt that the policy refuses is logged and never generated; so is a request
        whose negative prompt or story it refuses, or with a sound that quotes a work.

        Args:
            generator: That makes the sound.
            request: What is wanted.
            out: Output folder; made if missing.
            file_format: "wav", "flac" or "mp3".
            progress: Called with the share done, in [0, 1].
            device: Where the generator computes, "cpu" or "cuda", as it shall be recorded.
            precision: In which it computes, likewise.
            keep_in: Private folder in which the request is kept for a replay, before there
                is a record of it; None keeps nothing but the record's commitments.
            input_files: Field of the request that holds a sound -> the file it was read
                from, whose manifest goes into that of the output.
        """
        case = self._admitted(generator, request, input_files)
        early = self.decide(case, final=False)
        if not early.decision.is_release:
            return self.refuse(case, early, audio=None)
        with timed(case, "generate"):
            generation = generator.generate(request, progress=progress)
        self._made(case, request, device=device, precision=precision, keep_in=keep_in)
        self.refuse_marked(case, generation.audio, search=False)
        self.on_step("generated")
        return self._judge(case, generation, out=out, file_format=file_format)

    def generate_batch(
        self,
        generator: Generator,
        requests: Sequence[Request],
        *,
        out: Path,
        file_format: FileFormat = "wav",
        progress: Callable[[float], None] | None = None,
        device: str = "cpu",
        precision: str = "float32",
        keep_in: Path | None = None,
        input_files: Mapping[str, Path] | None = None,
    ) -> list[Release]:
        """Generate many items together, where the generator can, and judge each alone.

        What the policy refuses by its words is logged and not made; the others are. A refused
        item does not stop the others. Arguments are those of ``generate``.

        Returns:
            What became of each, in order.
        """
        cases = [self._admitted(generator, request, input_files) for request in requests]
        wanted = [
            request
            for request, case in zip(requests, cases, strict=True)
            if self.decide(case, final=False).decision.is_release
        ]
        start = time.perf_counter()
        made = iter(together(generator, wanted, progress=progress))
        each_ms = (time.perf_counter() - start) * 1000.0 / max(1, len(wanted))
        found = []
        for request, case in zip(requests, cases, strict=True):
            early = self.decide(case, final=False)
            if not early.decision.is_release:
                found.append(self.refuse(case, early, audio=None))
                continue
            case.timings_ms["generate"] = each_ms
            generation = next(made)
            self._made(case, request, device=device, precision=precision, keep_in=keep_in)
            self.refuse_marked(case, generation.audio, search=False)
            self.on_step("generated")
            found.append(self._judge(case, generation, out=out, file_format=file_format))
        return found

    def stream(
        self,
        generator: Generator,
        request: Request,
        *,
        out: Path,
        file_format: FileFormat = "wav",
        progress: Callable[[float], None] | None = None,
        device: str = "cpu",
        precision: str = "float32",
        keep_in: Path | None = None,
        input_files: Mapping[str, Path] | None = None,
    ) -> ReleaseStream:
        """Generate one item and let it out while it is made; see ``safegen.streaming``.

        Iterate to hear it. A generator that cannot stream hands its sound over whole, which
        then leaves in pieces. Arguments are those of ``generate``.
        """
        case = self._admitted(generator, request, input_files)

        def pieces() -> Pieces:
            self._made(case, request, device=device, precision=precision, keep_in=keep_in)
            yield from pieces_of(generator, request, progress=progress)

        return ReleaseStream(self, case, pieces(), out=out, file_format=file_format)

    def release_stream(
        self,
        waveforms: Iterable[Sound],
        sample_rate: int,
        *,
        out: Path,
        generator: str,
        prompt: str | None = None,
        file_format: FileFormat = "wav",
    ) -> ReleaseStream:
        """Let out, piece by piece, what somebody else's generator is still making.

        Args:
            waveforms: Consecutive pieces, each as ``release`` takes a sound.
            sample_rate: In Hz, of all.
            out: Output folder; made if missing.
            generator: Name and version of the generator, as it shall be recorded.
            prompt: What the user asked for, None if untold; recorded as a commitment only.
            file_format: "wav", "flac" or "mp3".
        """
        facts = ModelFacts(name=generator, version="unknown", license="unknown")
        case = self.admit(facts, prompt=prompt, seed=None)
        pieces = (_foreign(as_audio(waveform, sample_rate)) for waveform in waveforms)
        return ReleaseStream(self, case, pieces, out=out, file_format=file_format)

    def _admitted(
        self, generator: Generator, request: Request, input_files: Mapping[str, Path] | None
    ) -> Case:
        return self.admit(
            generator.facts,
            prompt=request.prompt,
            seed=request.seed,
            request=request,
            input_files=input_files,
        )

    def _made(
        self,
        case: Case,
        request: Request,
        *,
        device: str,
        precision: str,
        keep_in: Path | None,
    ) -> None:
        """Note by which build an item is made, and keep its request."""
        build = this_build(device, precision=precision)
        case.item = dataclasses.replace(case.item, build=build)
        if keep_in is not None:
            keep(request, keep_in, record_id=case.item.record_id)

    def _judge(
        self, case: Case, generation: Generation, *, out: Path, file_format: FileFormat
    ) -> Release:
        out = out.absolute()
        heard(case, generation.audio)

        # 3 Listen to the sound as it was made.
        self.listen(case, generation)
        self.on_step("listened")

        # 4 What is refused already is not marked.
        early = self.decide(case, final=False)
        if not early.decision.is_release:
            return self.refuse(case, early, audio=generation.audio)
        self.on_step("decided-early")

        self.prepare(out)
        with self.publisher.stage(case.item.record_id, out) as stage:
            # 5 The mark.
            marked = self.mark(case, generation.audio)
            return self.finish(
                case, generation.audio, marked, stage, out=out, file_format=file_format
            )


def _foreign(audio: Audio) -> Generation:
    """Wrap a sound of which nothing else is known."""
    return Generation(
        audio=audio,
        plan_json="",
        plan_tokens=np.zeros(0, np.int64),
        codes=np.zeros((0, 0), np.int64),
    )


def _raise_if_refused(found: Release) -> Release:
    if found.is_released:
        return found
    raise refusal(found)
