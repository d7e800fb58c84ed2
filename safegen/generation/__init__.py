"""The generation layer: plans, codec, text encoder, backbone, samplers, model cards."""
