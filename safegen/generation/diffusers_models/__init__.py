"""Public checkpoints through the library ``diffusers``: the only rooms that know it."""
