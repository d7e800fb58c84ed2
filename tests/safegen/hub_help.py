"""A model hub inside this process: what huggingface_hub asks for, and the faults of networks."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import set_client_factory
from huggingface_hub.utils import close_session  # type: ignore[attr-defined]

COMMIT = "3c19eba53390776cf2cc9ed5f6c9ac67ce72ecba"
LARGE = (".safetensors", ".bin")
_PARTIAL, _GATED, _ABSENT = 206, 403, 404


@dataclass
class FakeHub:
    """Serves folders as repositories of one commit each.

    Attributes:
        repositories: "owner/name" -> folder.
        breaks_after: Bytes after which an answer of a file breaks off.
        is_reachable: Whether anything answers.
        gated: Names whose files are not given.
        changed: File name -> what is served instead of what is listed.
        asked: File name and Range of every file that was asked for.
        tokens: Authorization headers that were seen.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    breaks_after: int | None = None
    is_reachable: bool = True
    gated: set[str] = field(default_factory=set)
    changed: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if not self.is_reachable:
            raise httpx2.ConnectError("no route to host", request=request)
        self.tokens.add(request.headers.get("authorization", ""))
        path = request.url.path
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._list(match[1], match[2] or "main")
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path)
        if match is None or match[1] not in self.repositories:
            return httpx2.Response(_ABSENT, headers={"X-Error-Code": "RepoNotFound"})
        if match[1] in self.gated:
            return httpx2.Response(_GATED, headers={"X-Error-Code": "GatedRepo"})
        return self._file(self.repositories[match[1]], match[3], request)

    def _list(self, name: str, revision: str) -> httpx2.Response:
        if name not in self.repositories:
            return httpx2.Response(_ABSENT, headers={"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return httpx2.Response(_ABSENT, headers={"X-Error-Code": "RevisionNotFound"})
        folder = self.repositories[name]
        siblings = []
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            data = path.read_bytes()
            row: dict[str, object] = {
                "rfilename": path.relative_to(folder).as_posix(),
                "size": len(data),
                "blobId": _git_sha1(data),
            }
            if path.suffix in LARGE:
                sha256 = hashlib.sha256(data).hexdigest()
                row["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
            siblings.append(row)
        told = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []}
        return httpx2.Response(200, json=told)

    def _file(self, folder: Path, name: str, request: httpx2.Request) -> httpx2.Response:
        data = self.changed.get(name) or (folder / name).read_bytes()
        ranged = request.headers.get("range", "")
        self.asked.append((name, ranged))
        start = int(ranged.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        return httpx2.Response(
            _PARTIAL if ranged else 200, stream=_Stream(data[start:], self.breaks_after)
        )


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class _Stream(httpx2.SyncByteStream):
    def __init__(self, data: bytes, breaks_after: int | None) -> None:
        self._data, self._breaks_after = data, breaks_after

    def __iter__(self) -> Iterator[bytes]:
        if self._breaks_after is None or self._breaks_after >= len(self._data):
            yield self._data
            return
        yield self._data[: self._breaks_after]
        raise httpx2.ReadError("connection reset by peer")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Let huggingface_hub talk to a hub in this process."""
    from huggingface_hub.utils import _http

    fake = FakeHub()
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    set_client_factory(
        lambda: httpx2.Client(transport=httpx2.MockTransport(fake), follow_redirects=True)
    )
    yield fake
    close_session()
    set_client_factory(_http.default_client_factory)


__all__ = ["COMMIT", "FakeHub", "hub"]
