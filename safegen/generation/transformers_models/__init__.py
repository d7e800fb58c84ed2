"""Public checkpoints through the library ``transformers``: the only rooms that know it."""
