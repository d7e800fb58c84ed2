"""What the memory holds: works and their rights, outputs and their checks, log rows.

Ids are text (UUIDs made by the caller), times are aware UTC datetimes, blobs of
fingerprint items are little-endian uint32. Rights, licenses and outputs are never
deleted or overwritten: a work is removed by ``removed_at``, a right or a license ends
by ``ended_at``, an output is voided by its state.

Rights and licenses have two times. The window [valid_from, valid_until) says when they
hold; [recorded_at, ended_at) says when this registry knew them to be so. What was
believed at any moment can be read back from them, and from ``catalog_changes`` which
works were in force.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

ID = String(36)
SHA256 = String(64)
WORK_SOURCES = ("audio", "fingerprint")
OUTPUT_STATES = ("prepared", "released", "blocked", "quarantined", "void", "screened")
CHECK_OUTCOMES = ("pass", "fail", "error", "timeout", "skipped", "not_applicable")


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out; SQLite, which stores no zone, gets it back on read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, which would mean a different moment on every machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"naive time {value.isoformat()}; the registry stores UTC"
            raise ValueError(msg)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's naive times their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables, with named constraints so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class RightsHolder(Base):
    """Who is asked, and who may ask."""

    __tablename__ = "rights_holders"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(500), unique=True)
    ipi: Mapped[str] = mapped_column(String(11), default="", server_default="")
    isni: Mapped[str] = mapped_column(String(16), default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Work(Base):
    """A recording in the licensed catalog; identified by the bytes of the file it came from.

    ``source`` is "audio" if the file was here, "fingerprint" if its rights-holder only
    sent what an engine heard in it.
    """

    __tablename__ = "works"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    title: Mapped[str] = mapped_column(String(1000))
    artist: Mapped[str] = mapped_column(String(1000), default="")
    isrc: Mapped[str] = mapped_column(String(12), default="", index=True)
    iswc: Mapped[str] = mapped_column(String(15), default="")
    musicbrainz_id: Mapped[str] = mapped_column(ID, default="", server_default="")
    source: Mapped[str] = mapped_column(String(20), default="audio", server_default="audio")
    seconds: Mapped[float] = mapped_column(Float)
    content_sha256: Mapped[str] = mapped_column(SHA256, unique=True)
    source_name: Mapped[str] = mapped_column(String(1000), default="")
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WorkRight(Base):
    """Who holds how much of a work, where, in [valid_from, valid_until)."""

    __tablename__ = "work_rights"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    work_id: Mapped[str] = mapped_column(ForeignKey("works.id"), index=True)
    rights_holder_id: Mapped[str] = mapped_column(ForeignKey("rights_holders.id"), index=True)
    share_percent: Mapped[float] = mapped_column(Float, default=100.0)
    territories: Mapped[list[str]] = mapped_column(JSON)
    valid_from: Mapped[datetime] = mapped_column(UtcDateTime)
    valid_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        CheckConstraint("share_percent > 0 AND share_percent <= 100", name="share_in_percent"),
    )


class License(Base):
    """What may be done with a work, where and when; the window is [valid_from, valid_until).

    ``obligations`` are what whoever uses the work owes for it, ``attribution_text`` is
    the line to be shown.
    """

    __tablename__ = "licenses"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    work_id: Mapped[str] = mapped_column(ForeignKey("works.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    terms_sha256: Mapped[str] = mapped_column(SHA256)
    territories: Mapped[list[str]] = mapped_column(JSON)
    uses: Mapped[list[str]] = mapped_column(JSON)
    valid_from: Mapped[datetime] = mapped_column(UtcDateTime)
    valid_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    obligations: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    attribution_text: Mapped[str] = mapped_column(Text, default="", server_default="")


class Fingerprint(Base):
    """Raw items of one engine for one work."""

    __tablename__ = "fingerprints"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    work_id: Mapped[str] = mapped_column(ForeignKey("works.id"))
    engine: Mapped[str] = mapped_column(String(40))
    items: Mapped[bytes] = mapped_column(LargeBinary)
    __table_args__ = (UniqueConstraint("work_id", "engine", name="uq_fingerprints_work_engine"),)


class CatalogChange(Base):
    """The catalog's ordered change log, from which every index is derived.

    "relicensed" is a change of licenses or of shares: what sounds alike stays the same.
    """

    __tablename__ = "catalog_changes"
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    event: Mapped[str] = mapped_column(String(20))
    work_id: Mapped[str] = mapped_column(ForeignKey("works.id"), index=True)
    __table_args__ = (
        CheckConstraint("event IN ('added', 'removed', 'relicensed')", name="event_known"),
    )


class TrainingManifest(Base):
    """What a model was trained on, by the hash of its manifest file."""

    __tablename__ = "training_manifests"
    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    item_count: Mapped[int] = mapped_column(Integer)
    license: Mapped[str] = mapped_column(String(200))
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Model(Base):
    """A model that made outputs, at one version of its weights."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(200))
    license: Mapped[str] = mapped_column(String(200))
    weights_sha256: Mapped[str] = mapped_column(String(64))
    training_manifest_sha256: Mapped[str] = mapped_column(String(64))
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        UniqueConstraint("name", "version", "weights_sha256", name="uq_models_identity"),
    )


class Output(Base):
    """One judged file: a release or refusal of the gate, or a screened upload.

    ``record`` is the canonical JSON whose bytes are the log's leaf; every other
    column repeats a part of it for questions in SQL.
    """

    __tablename__ = "outputs"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20), index=True)
    decision: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    policy_name: Mapped[str] = mapped_column(String(200))
    policy_sha256: Mapped[str] = mapped_column(SHA256)
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    file_name: Mapped[str] = mapped_column(String(1000))
    path: Mapped[str] = mapped_column(Text, default="")
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    seconds: Mapped[float] = mapped_column(Float)
    watermark_payload: Mapped[str | None] = mapped_column(String(16), unique=True)
    watermark_key_id: Mapped[str] = mapped_column(String(40), default="")
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    record: Mapped[bytes] = mapped_column(LargeBinary)
    log_index: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        CheckConstraint("kind IN ('release', 'screening')", name="kind_known"),
        CheckConstraint(
            "state IN ('prepared', 'released', 'blocked', 'quarantined', 'void', 'screened')",
            name="state_known",
        ),
    )


class Check(Base):
    """What one check said about one output."""

    __tablename__ = "checks"
    output_id: Mapped[str] = mapped_column(ForeignKey("outputs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(20))
    score: Mapped[float | None] = mapped_column(Float)
    threshold: Mapped[float | None] = mapped_column(Float)
    detail: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON)
    __table_args__ = (
        CheckConstraint(
            "outcome IN ('pass', 'fail', 'error', 'timeout', 'skipped', 'not_applicable')",
            name="outcome_known",
        ),
    )


class OutputFingerprint(Base):
    """What an engine other than Chromaprint heard in an output, kept for re-scans."""

    __tablename__ = "output_fingerprints"
    output_id: Mapped[str] = mapped_column(ForeignKey("outputs.id"), primary_key=True)
    engine: Mapped[str] = mapped_column(String(40), primary_key=True)
    items: Mapped[bytes] = mapped_column(LargeBinary)


class OutputMatch(Base):
    """A stretch of an output, or of a sound that went into it, that quotes a stretch of a work.

    ``heard_in`` names the input, "melody"; empty is the output itself. ``rescan_log_index`` is
    the log entry of a re-scan that found it later; NULL if it was found when the output was
    judged.
    """

    __tablename__ = "matches"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    output_id: Mapped[str] = mapped_column(ForeignKey("outputs.id"), index=True)
    work_id: Mapped[str] = mapped_column(ForeignKey("works.id"), index=True)
    engine: Mapped[str] = mapped_column(String(40))
    query_start_seconds: Mapped[float] = mapped_column(Float)
    query_end_seconds: Mapped[float] = mapped_column(Float)
    reference_start_seconds: Mapped[float] = mapped_column(Float)
    reference_end_seconds: Mapped[float] = mapped_column(Float)
    score: Mapped[float] = mapped_column(Float)
    p_value: Mapped[float] = mapped_column(Float)
    semitones: Mapped[float] = mapped_column(Float)
    speed: Mapped[float] = mapped_column(Float)
    license_id: Mapped[str | None] = mapped_column(ForeignKey("licenses.id"))
    votes: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    error_rate: Mapped[float | None] = mapped_column(Float)
    rescan_log_index: Mapped[int | None] = mapped_column(BigInteger)
    heard_in: Mapped[str] = mapped_column(String(20), default="", server_default="")


class Rescan(Base):
    """One run over past outputs, comparing them with works that were added later.

    It is resumed from ``cursor``, the log index of the last output that was compared.
    Outputs logged before ``outputs_until`` are compared with the works of the changes
    in (change_from, change_to]; those logged since ``outputs_from``, the end of the run
    before, with every work that is newer than they are.
    """

    __tablename__ = "rescans"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    change_from: Mapped[int] = mapped_column(Integer)
    change_to: Mapped[int] = mapped_column(Integer)
    outputs_from: Mapped[int] = mapped_column(BigInteger)
    outputs_until: Mapped[int] = mapped_column(BigInteger)
    cursor: Mapped[int] = mapped_column(BigInteger)
    compared: Mapped[int] = mapped_column(Integer)
    findings: Mapped[int] = mapped_column(Integer)


class LogEntry(Base):
    """A leaf of the tamper-evident log; ``position`` is its index, from 0 without gaps."""

    __tablename__ = "log_entries"
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    __table_args__ = (Index("ix_log_entries_leaf_hash", "leaf_hash"),)


class LogNode(Base):
    """Hash of a complete subtree of 2**level leaves, level >= 1."""

    __tablename__ = "log_nodes"
    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class LogCheckpoint(Base):
    """A signed statement of the log's size and root."""

    __tablename__ = "log_checkpoints"
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
