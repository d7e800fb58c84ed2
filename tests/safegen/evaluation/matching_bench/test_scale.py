"""A big catalog is filled, measured, and given back."""

from pathlib import Path

import pytest

from registry import catalog
from registry.session import connect
from safegen.audio import Audio, save
from safegen.errors import SafegenError
from safegen.evaluation.matching_bench import scale, works
from safegen.evaluation.matching_bench.engines import ENGINES
from safegen.evaluation.matching_bench.scale import Size
from safegen.evaluation.matching_bench.works import Catalog
from tests.detectors.test_chromaprint import melody


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("scale")
    for number in range(2):
        sound = Audio(waveform=melody(20.0, seed=number), sample_rate=11_025)
        save(sound, folder / f"{number}.wav")
    found = works.create(folder / "library", "all")
    list(works.listen(found, sorted(folder.glob("*.wav")), jobs=1))
    return found


def size(library: Catalog, folder: Path, *, count: int) -> Size:
    inside, outside = works.known(library, sorted(library.folder.parent.glob("*.wav")))
    return Size(works=count, half=0, inside=(inside,), outside=(outside,), folder=folder, seed=0)


def test_a_catalog_is_filled_measured_and_left_as_it_was(
    library: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "_WARM_UP", 0)
    big = size(library, tmp_path / "big", count=4)

    assert list(scale.fill(big, library)) == [4]
    assert list(scale.fill(big, library)) == []
    row = scale.measure(big, library, queries=4)

    assert (row["known"], row["found"]) == (3, 3)
    assert (row["added"], row["added_found"]) == (1, 1)
    for name in ENGINES:
        assert float(row[f"{name}_p50_ms"] or 0) > 0
        assert float(row[f"{name}_bytes"] or 0) > 1_000
    with connect(big.catalog.url) as database, database.read() as session:
        assert catalog.stats(session).works == 4
    scale.discard(big)
    assert not big.folder.exists()


def test_fewer_works_than_tracks_are_refused(library: Catalog, tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="0 works are fewer than the 1 tracks"):
        next(scale.fill(size(library, tmp_path / "big", count=0), library))
