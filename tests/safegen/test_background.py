"""A re-scan that nobody waits for: real child processes, one at a time, resumed after a kill."""

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from detectors.base import Match
from registry import rescans
from safegen import background
from safegen.audio import save
from safegen.cli import main
from safegen.kept import match_again
from safegen.matching import CatalogMatcher
from safegen.rescan import standing
from tests.safegen.conftest import tones
from tests.safegen.rescan_help import SONG, House, opened, quoting
from tests.safegen.screening_help import config_of

Run = Callable[..., Result]


@pytest.fixture
def house(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    with opened(home, tmp_path) as found:
        yield found


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def add(folder: Path, number: int, *more: str) -> Result:
    """Add a song by the command, as an operator does."""
    path = folder / f"song-{number}.wav"
    if not path.exists():
        save(tones(number, seconds=30), path)
    terms = ["--rights-holder", "Acme", "--license", "CC0-1.0"]
    return run("catalog", "add", path, *terms, "--jobs", "1", *more)


def child_of(result: Result) -> int:
    """Wait for the process that a command started; give its exit status."""
    told = re.search(r"in the background \(process (\d+)\)", result.stderr)
    assert told, result.output
    return next(each for each in background._children if each.pid == int(told[1])).wait(120)


def test_adding_a_work_compares_past_outputs_without_anybody_waiting(
    house: House, tmp_path: Path
) -> None:
    guilty = house.upload(quoting(SONG))

    result = add(tmp_path, SONG)

    assert result.exit_code == 0, result.output
    assert child_of(result) == 3  # as `catalog rescan` says of an unlicensed quotation
    log = background.log_of(config_of(house.home))
    assert f"see {log}" in result.stderr
    assert f"upload {guilty} quotes song-5 (Acme)" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    (row,) = house.rows()
    assert row["record_id"] == guilty
    found = run("doctor").stdout
    assert "past outputs are compared with every work" in found
    assert "1 quotations found later in all" in found


def test_a_child_that_is_killed_loses_nothing_and_the_next_one_goes_on(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safegen.rescan.BATCH", 1)
    guilty = [house.upload(quoting(SONG, start=start)) for start in (4.0, 8.0)]
    add(tmp_path, SONG, "--no-rescan")
    steps = house.rescanner().run()
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    killed = background.start_rescan(config_of(house.home))
    assert killed
    background._children[-1].send_signal(signal.SIGKILL)
    background._children[-1].wait(120)

    assert "interrupted after" in run("doctor").stdout
    child_of(add(tmp_path, SONG))

    with house.database.read() as session:
        now = standing(session)
        house.log.verify(session)
    assert now.finished
    assert (now.finished.rescan_id, now.finished.compared, now.findings) == (1, 2, 2)
    assert [row["record_id"] for row in house.rows()] == guilty


def test_a_second_rescan_ends_at_once_and_is_not_even_started(house: House, tmp_path: Path) -> None:
    house.upload(quoting(SONG))
    with background.alone(config_of(house.home)) as is_alone:
        added = add(tmp_path, SONG)
        again = run("catalog", "rescan")
        told = run("doctor")

    assert is_alone
    assert "The re-scan that is running compares" in added.stderr
    assert again.exit_code == 1
    assert "another re-scan is running" in again.stderr
    assert "running; 0 quotations" in told.stdout
    assert run("catalog", "rescan").exit_code == 3


def test_what_is_added_while_a_rescan_runs_is_compared_by_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.upload(quoting(6))
    house.add(SONG)

    def meanwhile(
        matcher: CatalogMatcher, plain: bytes, others: Mapping[str, bytes]
    ) -> tuple[Match, ...]:
        found = match_again(matcher, plain, others)
        with background.alone(config_of(house.home)) as is_alone:
            assert not is_alone  # so whoever adds it leaves it to this one
        house.add(6)
        return found

    monkeypatch.setattr("safegen.rescan.match_again", meanwhile)

    result = run("catalog", "rescan")

    assert result.exit_code == 3, result.output
    assert "quotes Song 6" in result.stdout
    with house.database.read() as session:
        assert rescans.unfinished(session) is None
        assert not standing(session).is_behind


def test_nothing_is_started_when_nobody_wants_it_or_nothing_is_there(
    house: House, tmp_path: Path
) -> None:
    nothing_there = add(tmp_path, SONG)
    house.upload(tones(1, seconds=6))
    unwanted = add(tmp_path, 6, "--no-rescan")

    assert "background" not in nothing_there.stderr + unwanted.stderr
    assert not background.log_of(config_of(house.home)).exists()
    assert "pending; 0 quotations" in run("doctor").stdout
