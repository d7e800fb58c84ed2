"""What can go wrong between the memory and whoever asks it.

RegistryError
├── NotFoundError        no row under that id
├── SchemaOutdatedError  the database is at another revision; the message names the command
├── ConflictError        the row exists already or the write would break a rule
├── InvalidError         what was handed in breaks a format: a territory, a use, an ISRC
└── UnavailableError     the database cannot be reached or is locked
"""


class RegistryError(Exception):
    """Base of all deliberate failures of the registry."""


class NotFoundError(RegistryError):
    """There is no row under the id that was asked for."""


class SchemaOutdatedError(RegistryError):
    """The database's revision is not the one this version works with."""


class ConflictError(RegistryError):
    """The write would contradict what is stored."""


class InvalidError(RegistryError):
    """A value that was handed in is not of the form the registry keeps."""


class UnavailableError(RegistryError):
    """The database cannot be reached, is locked, or is out of space."""
