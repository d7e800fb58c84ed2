"""safegen: the release gate for generated audio.

``from safegen import Gate`` is the public door for programs; it is resolved on
first use so that importing the package stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safegen.audio import Audio
    from safegen.gate import Gate

__all__ = ["Audio", "Gate"]


def __getattr__(name: str) -> Any:
    if name == "Gate":
        from safegen.gate import Gate

        return Gate
    if name == "Audio":
        from safegen.audio import Audio

        return Audio
    msg = f"module 'safegen' has no attribute {name!r}"
    raise AttributeError(msg)
