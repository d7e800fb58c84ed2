"""The parts of ``safegen eval synthetic``."""
