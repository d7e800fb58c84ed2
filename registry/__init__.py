"""The memory: works, licenses, fingerprints, records, log rows. SQL only; no audio, no policy."""
