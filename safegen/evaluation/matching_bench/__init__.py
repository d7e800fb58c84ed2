"""The parts of ``safegen eval fingerprint``."""
