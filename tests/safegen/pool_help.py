"""Ears that can be opened in a worker process; kept light, because each worker imports this."""

import os
from pathlib import Path

from detectors.base import WatermarkFinding
from detectors.decoder_mark import DecoderMarkFinding
from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from safegen.config import Config
from safegen.listening import Ears
from safegen.provenance.c2pa import C2paFinding


def deadly_ears(config: Config) -> Ears:
    """Hear nothing, and end the process on files called deadly."""

    def read_manifest(path: Path) -> C2paFinding:
        if path.name.startswith("deadly"):
            os._exit(7)
        return C2paFinding(
            state="absent",
            failures=(),
            record_id="",
            policy_sha256="",
            watermark_payload="",
            issuer="",
            generator="",
            source_type="",
        )

    unmarked = WatermarkFinding(
        detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
    )
    unrooted = DecoderMarkFinding(
        detected=False, p_value=1.0, score=0.0, speed=1.0, semitones=0.0, intervals=()
    )
    unknown = SyntheticFinding(
        probability=0.1,
        abstained=False,
        reason="",
        segments=(),
        model_id="test",
        verdict=SynthesisVerdict.NO_SYNTHESIS_EVIDENCE,
    )
    return Ears(
        match=lambda _: (),
        compare_notes=lambda _: (),
        classify=lambda _: unknown,
        detect=lambda _: unmarked,
        hear_root=lambda _: unrooted,
        read_manifest=read_manifest,
    )
