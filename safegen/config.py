"""Where does this installation keep its state?

One folder holds everything (``SAFEGEN_HOME``, default: the platform's user data
folder); ``SAFEGEN_DATABASE_URL`` moves the database elsewhere. Only the doors
(``safegen.cli``, ``safegen.service``) read the environment, through
``from_environment``; everything below takes a ``Config``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safegen.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Paths of one installation.

    Attributes:
        home: The state folder; created on first use by whoever writes there.
        database_url: SQLAlchemy URL, SQLite under ``home`` unless overridden.
        spectral_evidence: Whether synthetic sound is looked for in lines of its spectrum;
            docs/synthetic.md says why one may not want that.
    """

    home: Path
    database_url: str
    spectral_evidence: bool = True

    @property
    def keys(self) -> Path:
        """Folder of private keys, mode 0700."""
        return self.home / "keys"

    @property
    def quarantine(self) -> Path:
        """Folder of withheld outputs, mode 0700."""
        return self.home / "quarantine"

    @property
    def staging(self) -> Path:
        """Folder of files that are not released yet; must be on the output's file system."""
        return self.home / "staging"

    @property
    def models(self) -> Path:
        """Folder of checkpoints that do not ship with the package."""
        return self.home / "models"

    @property
    def policies(self) -> Path:
        """Folder of the operator's own policy files."""
        return self.home / "policies"

    @property
    def calibration(self) -> Path:
        """File of false alarms that were counted on this installation's own sounds."""
        return self.home / "calibration" / "watermark.json"

    @property
    def rescans(self) -> Path:
        """Folder of the lock and the log of re-scans in the background."""
        return self.home / "rescans"

    @property
    def requests(self) -> Path:
        """Folder of what was asked, prompts in clear, mode 0700; for replays."""
        return self.home / "requests"

    @property
    def index(self) -> Path:
        """Folder of derived indexes; may be deleted at any time."""
        return self.home / "index"


def from_environment(environment: Mapping[str, str]) -> Config:
    """Read ``SAFEGEN_HOME``, ``SAFEGEN_DATABASE_URL`` and ``SAFEGEN_SPECTRAL_EVIDENCE``.

    Raises:
        InputError: If the last is neither "on" nor "off".
    """
    import platformdirs

    wanted = environment.get("SAFEGEN_SPECTRAL_EVIDENCE", "") or "on"
    if wanted not in ("on", "off"):
        raise InputError(
            f"SAFEGEN_SPECTRAL_EVIDENCE is {wanted!r}", remedy='Set it to "on" or "off".'
        )

    named = environment.get("SAFEGEN_HOME", "")
    home = Path(named).expanduser() if named else platformdirs.user_data_path("safegen")
    home = home.absolute()
    url = environment.get("SAFEGEN_DATABASE_URL", "") or f"sqlite:///{home / 'safegen.db'}"
    return Config(home=home, database_url=url, spectral_evidence=wanted == "on")
