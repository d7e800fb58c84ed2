"""What the tests of answers about synthetic sound share: a finding, and marks of ours."""

from detectors.base import Interval, WatermarkFinding
from detectors.decoder_mark import DecoderMarkFinding
from detectors.synthetic.finding import (
    Comb,
    HeadAnswer,
    Peak,
    SynthesisVerdict,
    SyntheticFinding,
)
from safegen.provenance.c2pa import C2paFinding

HIFIGAN = SyntheticFinding(
    probability=0.9945,
    abstained=False,
    reason="",
    segments=(Interval(start_seconds=0.0, end_seconds=4.0, score=0.91234),),
    model_id="roster-3-abc",
    verdict=SynthesisVerdict.KNOWN_GENERATOR,
    generator="hifigan",
    llr=5.2,
    p_value=0.001,
    distance=0.8,
    resolution_seconds=4.0,
    peaks=(Peak(hz=2756.25, excess_db=3.21, stride=256, spacing_hz=86.1328125),),
    combs=(Comb(spacing_hz=86.1328125, z=8.2, excess_db=1.5, reading="stride 256 at 22050 Hz"),),
    answers=(
        HeadAnswer(name="hifigan", family="vocoder", own=False, llr=5.2, p_value=0.001),
        HeadAnswer(name="codec", family="codec", own=True, llr=-1.0, p_value=0.4),
    ),
    calibration_id="c",
    data_card_id="d",
)
MARK = WatermarkFinding(detected=True, payload=7, p_value=1e-9, z=9.0, key_id="wm-1", intervals=())
ROOT = DecoderMarkFinding(
    detected=True, p_value=1e-9, score=9.0, speed=1.0, semitones=0.0, intervals=()
)
MANIFEST = C2paFinding(
    state="trusted",
    failures=(),
    record_id="r",
    policy_sha256="",
    watermark_payload="",
    issuer="",
    generator="",
    source_type="",
)
