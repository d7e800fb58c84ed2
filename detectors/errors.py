"""The one error a detector raises: it could not give an answer."""


class DetectorError(Exception):
    """The detector could not listen; callers must treat that as "not cleared"."""
