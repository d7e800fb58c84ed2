"""Public checkpoints: only the pinned bytes, and of them only the tensors."""

import hashlib
import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safegen.audio import sha256_file
from safegen.checkpoints import (
    AUDIOSEAL,
    PUBLIC_MODELS,
    PublicFile,
    PublicModel,
    fetch,
    public_model,
    read_checkpoint,
)
from safegen.errors import InputError, IntegrityError, SafegenError

DATA = bytes(range(256)) * 5000
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3)}


def model(data: bytes = DATA) -> PublicModel:
    return PublicModel(
        name="audioseal",
        repository="someone/something",
        revision="c0ffee",
        license="MIT",
        summary="Numbers.",
        files=(
            PublicFile(
                role="generator",
                name="numbers.pth",
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
            ),
        ),
    )


@dataclass
class Server:
    """Serves one file, as a hub would, and may break off."""

    data: bytes = DATA
    breaks_after: int | None = None
    knows_ranges: bool = True
    status: int = 0
    asked: str | None = None

    @contextmanager
    def __call__(self, request: urllib.request.Request) -> Iterator["Server"]:
        self.asked = request.get_header("Range")
        ranged = self.knows_ranges and self.asked is not None
        start = int(str(self.asked).removeprefix("bytes=").removesuffix("-")) if ranged else 0
        self.status = 206 if ranged else 200
        stop = len(self.data) if self.breaks_after is None else start + self.breaks_after
        self._left = io.BytesIO(self.data[start:stop])
        yield self

    def read(self, amount: int, /) -> bytes:
        return self._left.read(min(amount, 100_000))


# Fetching ----------------------------------------------------------------------------


def test_a_file_is_fetched_whole_and_kept(tmp_path: Path) -> None:
    seen: list[int] = []

    (path,) = fetch(
        model(), tmp_path, opener=Server(), progress=lambda _n, done, _s: seen.append(done)
    )

    assert path.read_bytes() == DATA
    assert seen[-1] == len(DATA)
    assert [found.name for found in tmp_path.iterdir()] == ["numbers.pth"]


def test_what_was_broken_off_is_continued(tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="300000 bytes came") as caught:
        fetch(model(), tmp_path, opener=Server(breaks_after=300_000))
    assert "safegen models pull audioseal" in caught.value.remedy

    again = Server()
    (path,) = fetch(model(), tmp_path, opener=again)

    assert again.asked == "bytes=300000-"
    assert path.read_bytes() == DATA


def test_a_server_without_ranges_sends_it_all_again(tmp_path: Path) -> None:
    with pytest.raises(SafegenError):
        fetch(model(), tmp_path, opener=Server(breaks_after=300_000))

    (path,) = fetch(model(), tmp_path, opener=Server(knows_ranges=False))

    assert path.read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA[::-1]], ids=["last byte", "reversed"])
def test_another_file_is_deleted_and_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(IntegrityError, match="pinned is"):
        fetch(model(), tmp_path, opener=Server(data=data))

    assert not list(tmp_path.iterdir())


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="bytes came"):
        fetch(model(), tmp_path, opener=Server(data=DATA * 10))

    assert (tmp_path / "numbers.pth.part").stat().st_size < 2 * len(DATA)


def test_without_a_network_the_error_names_the_command_and_the_folder(tmp_path: Path) -> None:
    def offline(request: urllib.request.Request) -> AbstractContextManager[Server]:
        raise urllib.error.URLError("no route")

    with pytest.raises(SafegenError, match="no route") as caught:
        fetch(model(), tmp_path / "here", opener=offline)

    assert caught.value.exit_code == 1
    assert "safegen models add audioseal numbers.pth" in caught.value.remedy
    assert str(tmp_path / "here") in caught.value.remedy


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "numbers.pth").write_bytes(DATA)
    server = Server()

    fetch(model(), tmp_path, opener=server)

    assert server.status == 0


def test_every_public_file_is_pinned_to_a_revision_and_a_hash() -> None:
    for found in PUBLIC_MODELS:
        assert len(found.revision) == 40
        assert public_model(found.name) is found
        for file in found.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert found.revision in found.url(file)
            assert found.url(file).startswith("https://")
    assert [file.role for file in AUDIOSEAL.files] == ["generator", "detector"]


def test_an_unknown_public_model_is_refused() -> None:
    with pytest.raises(InputError, match="not a model that can be fetched"):
        public_model("gpt")


# Reading -----------------------------------------------------------------------------


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return sha256_file(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: {"model": x},
        lambda x: {"best_state": {"model": x}, "epoch": 3},
        lambda x: {"state_dict": x},
    ],
    ids=["plain", "model", "best_state", "state_dict"],
)
def test_tensors_are_found_where_training_loops_put_them(
    tmp_path: Path, wrap: Callable[[object], object]
) -> None:
    sha256 = saved(tmp_path / "a.pth", wrap(TENSORS))

    found = read_checkpoint(tmp_path / "a.pth", sha256=sha256.upper())

    assert found.keys() == TENSORS.keys()
    assert torch.equal(found["a.weight"], TENSORS["a.weight"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    sha256 = sha256_file(tmp_path / "a.safetensors")

    found = read_checkpoint(tmp_path / "a.safetensors", sha256=sha256)

    assert torch.equal(found["a.weight"], TENSORS["a.weight"])


def test_settings_beside_the_tensors_are_left_unread(tmp_path: Path) -> None:
    # As in facebook/audioseal: restricted loading refuses OmegaConf's names by default.
    from omegaconf import OmegaConf

    settings = OmegaConf.create(
        {"seanet": {"ratios": [8, 5], "alpha": 1.5, "none": None}, "name": "x", "on": True}
    )
    sha256 = saved(tmp_path / "a.pth", {"xp.cfg": settings, "model": TENSORS})

    with pytest.raises(Exception, match="omegaconf"):
        torch.load(tmp_path / "a.pth", weights_only=True)

    assert read_checkpoint(tmp_path / "a.pth", sha256=sha256).keys() == TENSORS.keys()
    # What was allowed for one file is not allowed for the next.
    with pytest.raises(Exception, match="omegaconf"):
        torch.load(tmp_path / "a.pth", weights_only=True)


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pwned",)


def test_a_pickle_that_would_run_code_is_refused_unrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sha256 = saved(tmp_path / "evil.pth", {"model": TENSORS, "more": Evil()})

    with pytest.raises(InputError, match=r"would run posix\.system"):
        read_checkpoint(tmp_path / "evil.pth", sha256=sha256)

    assert not (tmp_path / "pwned").exists()


def test_another_hash_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "evil.pth", Evil())

    with pytest.raises(IntegrityError, match="expected 0000"):
        read_checkpoint(tmp_path / "evil.pth", sha256="0" * 64)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("kept", [0, 50, -10])
def test_a_truncated_file_is_refused_even_under_its_own_hash(
    tmp_path: Path, name: str, kept: int
) -> None:
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(InputError, match="not a"):
        read_checkpoint(path, sha256=sha256_file(path))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, "text"])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: object) -> None:
    sha256 = saved(tmp_path / "a.pth", content)

    with pytest.raises(InputError, match="no tensors"):
        read_checkpoint(tmp_path / "a.pth", sha256=sha256)
