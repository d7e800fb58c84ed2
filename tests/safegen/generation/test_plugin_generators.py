"""Generators of other packages: found by their metadata, checked, named in the record."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry import releases
from safegen.cli import main
from safegen.errors import InputError, SafegenError
from safegen.gate import Gate
from safegen.generation import own, plugin_generators, systems
from safegen.generation.base import BatchGenerator, Request, StreamingGenerator
from tests.safegen.conftest import home

__all__ = ["home"]  # a fixture

SOURCE = '''
"""A package that offers a generator."""

import numpy as np

from safegen import Audio
from safegen.errors import InputError
from safegen.generation.base import Generation, ModelFacts


class Hum:
    facts = ModelFacts(name={name!r}, version={told!r}, license="CC0-1.0")

    def __init__(self, device):
        self.device = device

    def generate(self, request, *, progress=None):
        if request.melody is not None:
            raise InputError("hums by itself", remedy="Leave the melody out.")
        dice = np.random.default_rng(request.seed)
        sound = dice.normal(0, 0.1, (1, round(request.seconds * 32000))).astype(np.float32)
        return Generation(
            audio=Audio(waveform=sound, sample_rate=32000),
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=np.zeros((0, 0), np.int64),
        )
{more}

def load(*, device):
    {body}
'''

Installs = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Put a distribution on the path, as pip would, and name its package."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def write(
        name: str = "my-model",
        *,
        package: str = "my-package",
        facts_name: str | None = None,
        told: str = "unknown",
        body: str = "return Hum(device)",
        more: str = "",
        source: str = "",
        target: str = "load",
    ) -> str:
        module = package.replace("-", "_")
        text = SOURCE.format(name=facts_name or name, told=told, body=body, more=more)
        (site / f"{module}.py").write_text(source or text, encoding="utf-8")
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[safegen.generators]\n{name} = {module}:{target}\n", encoding="utf-8"
        )
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return write


def test_a_package_adds_a_generator_and_listing_it_imports_nothing(install: Installs) -> None:
    module = install()

    (found,) = plugin_generators.installed()

    assert (found.name, found.origin, found.fault) == ("my-model", "my-package 1.2", "")
    assert plugin_generators.names() == ("my-model",)
    assert module not in sys.modules


def test_its_facts_name_package_and_version(install: Installs) -> None:
    install()
    install("other", package="other-package", told="7")

    mine, other = systems.load("my-model", device="cpu"), systems.load("other", device="cpu")

    assert (mine.facts.version, mine.facts.package) == ("1.2", "my-package 1.2")
    assert (other.facts.version, other.facts.package) == ("7", "other-package 1.2")
    assert not isinstance(mine, BatchGenerator)
    assert not isinstance(mine, StreamingGenerator)


def test_one_that_makes_batches_and_streams_does_so_as_a_plug_in(install: Installs) -> None:
    install(
        more="""
    def generate_batch(self, requests, *, progress=None):
        return [self.generate(each) for each in requests]

    def stream(self, request, *, progress=None):
        yield self.generate(request)
"""
    )

    found = systems.load("my-model", device="cpu")

    assert isinstance(found, BatchGenerator)
    assert isinstance(found, StreamingGenerator)
    wish = Request(prompt="a hum", seconds=0.5, seed=3)
    (alone,) = found.stream(wish)
    (first, second) = found.generate_batch([wish, wish])
    assert (first.audio.waveform == alone.audio.waveform).all()
    assert (second.audio.waveform == alone.audio.waveform).all()


BAD = {
    "loading breaks": ({"body": "raise OSError('no weights')"}, r"OSError: no weights"),
    "it is no generator": ({"body": "return 3"}, "a int that is no generator"),
    "it has no facts": ({"body": "Hum.facts = None; return Hum(device)"}, "a NoneType, not"),
    "its facts have another name": ({"facts_name": "Hum 3"}, "its facts name it 'Hum 3'"),
    "its facts have no name": ({"facts_name": " "}, "its facts name it ' '"),
    "its module is broken": ({"source": "import nowhere_at_all"}, "nowhere_at_all"),
    "its function is missing": ({"target": "nothing"}, "AttributeError"),
    "it takes no device": ({"source": "def load(): pass"}, "TypeError"),
}


@pytest.mark.parametrize(("changes", "says"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_told_with_package_and_version(
    install: Installs, changes: dict[str, str], says: str
) -> None:
    install(**changes)

    with pytest.raises(SafegenError, match=says) as refusal:
        systems.load("my-model", device="cpu")

    assert "my-package 1.2" in refusal.value.problem
    assert refusal.value.remedy


@pytest.mark.parametrize("name", ["music-flow", "audioseal", "My Model", "a" * 65, "owner.name"])
def test_a_name_that_ships_or_is_none_is_never_a_packages(install: Installs, name: str) -> None:
    install(name)

    (found,) = plugin_generators.installed()

    assert found.fault
    assert plugin_generators.names() == ()
    with pytest.raises(InputError, match="cannot be used"):
        plugin_generators.find(name, device="cpu")
    assert systems.load("procedural").facts.package == ""


def test_two_packages_with_one_name_are_both_refused(install: Installs) -> None:
    install()
    install(package="other-package")

    with pytest.raises(InputError, match=r"(my|other)-package 1.2 gives the same name"):
        systems.load("my-model", device="cpu")


def test_an_own_model_keeps_its_name(
    install: Installs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setattr(own, "find", lambda name, *, models: name == "my-model" or None)

    (found,) = plugin_generators.installed(models=tmp_path)

    assert found.fault == "my-model is the name of an own model"


def test_generate_releases_what_a_package_makes_and_the_record_names_it(
    install: Installs, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    arguments = ["generate", "a hum", "--model", "my-model", "--seconds", "6", "--seed", "3"]
    run = CliRunner().invoke

    listed = run(main, ["models", "list"])
    made = run(main, [*arguments, "--out", str(tmp_path / "out"), "--format", "jsonl"])

    assert "my-model (package my-package 1.2)" in listed.stdout
    assert made.exit_code == 0, made.output
    row = json.loads(made.stdout)
    gate = Gate.open(home)
    with gate.database.read() as session:
        logged = json.loads(releases.get_output(session, row["record_id"]).record)
    gate.close()
    assert logged["model"] == {
        "name": "my-model",
        "version": "1.2",
        "license": "CC0-1.0",
        "weights_sha256": "",
        "training_manifest_sha256": "",
        "package": "my-package 1.2",
    }
    again = run(main, ["replay", row["record_id"]])
    assert again.exit_code == 0, again.output


def test_what_it_does_not_take_it_refuses_itself(
    install: Installs, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.audio import save
    from tests.safegen.conftest import tones

    install()
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    save(tones(1, seconds=6.0), tmp_path / "melody.wav")
    arguments = ["--model", "my-model", "--melody", str(tmp_path / "melody.wav")]

    made = CliRunner().invoke(main, ["generate", "hum", *arguments, "--out", str(tmp_path / "o")])

    assert made.exit_code == 2, made.output
    assert "hums by itself" in made.stderr
    assert not list(tmp_path.glob("o/*.wav"))
