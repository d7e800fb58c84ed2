"""What does a repository on the model hub hold, and did exactly that arrive?

A listing is pinned to one commit; it tells the length of every file and its hash: sha256 of
the large ones, git's own hash of the small ones. A file that was broken off is continued
where it stopped; one that is whole is compared with the listing before anybody may read it,
and deleted if it is another.

The one door to the hub for models. A token, where a repository asks for one, is taken by
``huggingface_hub`` from the environment (``HF_TOKEN``); it is not read or shown here.
"""

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safegen.errors import InputError, IntegrityError, SafegenError

_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 60.0
_PARTIAL: Final = 206
_SHOWN_CHARACTERS: Final = 200
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_.][A-Za-z0-9._+-]*")

Progress = Callable[[int], None]
"""Called with the bytes that arrived since the last call, those that were there before too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the hub lists it.

    Attributes:
        name: In the repository.
        size_bytes: Of the file.
        sha256: Lower-case hex, "" for small files.
        git_sha1: Hash of the git blob, "" for large files.
    """

    name: str
    size_bytes: int
    sha256: str
    git_sha1: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository at one commit.

    Attributes:
        name: "owner/name".
        commit: 40 hex digits.
        files: By name.
        options: That the commands in messages carry, " --accept-license" or "".
    """

    name: str
    commit: str
    files: Mapping[str, RemoteFile]
    options: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, for cards."""
        return f"{self.name}@{self.commit}"


def listing(name: str, *, revision: str, folder: Path, options: str = "") -> Repository:
    """List a repository.

    Args:
        name: "owner/name".
        revision: Branch, tag or commit; "" for the main branch.
        folder: Where its files may be put by hand, named if the hub cannot be reached.
        options: That the commands in messages carry.

    Raises:
        InputError: If there is no such repository or revision, or it asks for a consent.
        SafegenError: If the hub does not answer.
    """
    from huggingface_hub import HfApi

    try:
        told = HfApi().model_info(
            name, revision=revision or None, files_metadata=True, timeout=_TIMEOUT_SECONDS
        )
    # Of all that a network can do, none is worth a traceback.
    except Exception as error:
        raise _explained(error, name, revision, folder, options) from error
    files = {}
    for each in told.siblings or ():
        sha256 = each.lfs.sha256 if each.lfs is not None else ""
        sha1 = (each.blob_id or "") if each.lfs is None else ""
        is_known = _SHA256.fullmatch(sha256) or _COMMIT.fullmatch(sha1)
        is_safe = _NAME.fullmatch(each.rfilename) and ".." not in each.rfilename
        if is_known and is_safe and each.size is not None:
            files[each.rfilename] = RemoteFile(
                name=each.rfilename, size_bytes=each.size, sha256=sha256, git_sha1=sha1
            )
    if not _COMMIT.fullmatch(told.sha or ""):
        raise SafegenError(f"{name}: the hub names no commit", remedy="Try again later.")
    return Repository(name=name, commit=str(told.sha), files=files, options=options)


def fetch(
    repository: Repository,
    names: list[str],
    folder: Path,
    *,
    progress: Progress | None = None,
) -> None:
    """Download files, continuing what was broken off; what is there and right is kept.

    Args:
        repository: Listed.
        names: Of some of its files.
        folder: Made if missing; whole files stand under their names, others end in ``.part``.
        progress: Told about bytes.

    Raises:
        InputError: If the repository asks for a consent.
        SafegenError: If the hub does not give a file.
        IntegrityError: If a file is not the listed one; it is deleted.
    """
    for name in names:
        file, path = repository.files[name], folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        report = progress or (lambda _bytes: None)
        if path.is_file():
            path.rename(part)  # by hand, or in a run before this one: it is compared, too
        try:
            _download(repository, file, part, report)
        except SafegenError:
            raise
        except Exception as error:
            raise _explained(
                error, repository.name, repository.commit, folder, repository.options
            ) from error
        _compare(file, part)
        part.rename(path)


def _download(repository: Repository, file: RemoteFile, part: Path, report: Progress) -> None:
    from huggingface_hub import get_session, hf_hub_url

    # Documented there, though not re-exported in so many words.
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    done = part.stat().st_size if part.exists() else 0
    if done > file.size_bytes:
        part.unlink()
        done = 0
    if done == file.size_bytes and part.exists():
        report(done)
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_SECONDS) as response:
        hf_raise_for_status(response)
        if done and response.status_code != _PARTIAL:
            done = 0  # the server sends all of it again
        report(done)
        with part.open("ab" if done else "wb") as out:
            for block in response.iter_bytes():
                out.write(block)
                done += len(block)
                report(len(block))
                if done > file.size_bytes:
                    break
    if done < file.size_bytes:
        raise SafegenError(
            f"{file.name}: {done} bytes came, {file.size_bytes} expected",
            remedy=f"Run `safegen models pull {repository.name}{repository.options}` again; it "
            "continues where it stopped.",
        )


def _compare(file: RemoteFile, part: Path) -> None:
    """Hash what came as the hub did, and delete it if it is another file."""
    with part.open("rb") as data:
        if file.sha256:
            wanted, found = file.sha256, hashlib.file_digest(data, "sha256").hexdigest()
        else:
            # Git's name of a blob; a commit is a tree of these names.
            head = f"blob {part.stat().st_size}\0".encode()
            digest = hashlib.sha1(head, usedforsecurity=False)
            while block := data.read(_BLOCK_BYTES):
                digest.update(block)
            wanted, found = file.git_sha1, digest.hexdigest()
    if found != wanted:
        part.unlink()
        raise IntegrityError(
            f"{file.name}: hash {found}, the hub lists {wanted}",
            remedy="What came was deleted and nothing installed. Try again; if it stays so, the "
            "line to the hub cannot be trusted.",
        )


def _explained(
    error: Exception, name: str, revision: str, folder: Path, options: str
) -> SafegenError:
    """Say in our words what the hub's library ran into; no token or signed address in it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{name}"
    if isinstance(error, GatedRepoError):
        return InputError(
            f"{name} is given only to those who accepted its terms on the hub",
            remedy=f"Accept them at {page}, then set HF_TOKEN to a token of your account and run "
            f"`safegen models pull {name}{options}` again.",
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(
            f"{name}: no revision {revision[:80]!r}", remedy=f"See {page}/commits/main."
        )
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"{name}: the hub has no such model, or it is private",
            remedy=f"Look at {page}; for a private one set HF_TOKEN to a token that may read it.",
        )
    lines = str(error).strip().splitlines()
    said = re.sub(r"\?\S+", "", lines[0])[:_SHOWN_CHARACTERS] if lines else ""
    return SafegenError(
        f"{name} cannot be fetched: {said or type(error).__name__}",
        remedy=f"Run `safegen models pull {name}{options}` again when there is a network; it "
        f"continues where it stopped. Without one, put a copy of its files into {folder} and run "
        f"`safegen models add {name} {shlex.quote(str(folder))}{options}`.",
    )
