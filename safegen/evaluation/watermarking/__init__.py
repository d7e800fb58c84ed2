"""The parts of `safegen eval watermark`: clips, promises, trials, figures, report."""
