"""What happens to a sound between its release and its finder.

``ATTACKS`` maps a name to an ``Attack``, which is called with a sound (and, where it
says so, with another sound). Attacks that know more than the sound, such as a second
copy or somebody's key, are in ``safegen.evaluation.attacks.adversarial``; EnCodec, which
needs a checkpoint, is in ``safegen.evaluation.attacks.encodec``.
"""

from safegen.evaluation.attacks.base import Attack, Companion, Kind
from safegen.evaluation.attacks.codecs import through_codec, through_g722, through_vorbis
from safegen.evaluation.attacks.ffmpeg import CODECS, Codec
from safegen.evaluation.attacks.noise import babble
from safegen.evaluation.attacks.rows import ATTACKS

__all__ = [
    "ATTACKS",
    "CODECS",
    "Attack",
    "Codec",
    "Companion",
    "Kind",
    "babble",
    "through_codec",
    "through_g722",
    "through_vorbis",
]
