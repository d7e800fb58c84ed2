"""The ears: listen to a waveform and report findings. No database, no policy, no files."""
