"""Public checkpoints with random weights, and their libraries' own pipelines, to be timed."""
