"""Tiny random checkpoints of the real classes of ``transformers``, saved as users have them.

Each function writes a folder that the real code loads back. Those of MusicGen are also the
tiny ones of the benchmark.
"""

from typing import Any, Final

from safegen.evaluation.public_bench.checkpoints import encodec, save_musicgen, save_tokenizer, t5

SAMPLE_RATE: Final = 16_000
CODEBOOK_SIZE: Final = 64

__all__ = [
    "CODEBOOK_SIZE",
    "SAMPLE_RATE",
    "save_musicgen",
    "save_tokenizer",
    "tiny_encodec",
    "tiny_t5",
]


def tiny_t5(words: int) -> dict[str, Any]:
    """Describe a text encoder of T5's kind."""
    return t5(words)


def tiny_encodec(*, codebooks: int = 4) -> dict[str, Any]:
    """Describe an EnCodec like MusicGen's: 50 frames a second, not causal, with an LSTM."""
    return encodec() | {"target_bandwidths": [codebooks * 50 * 6 / 1000]}
