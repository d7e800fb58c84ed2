"""The rooms know only what they should, and a command loads only what it needs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("safegen", "detectors", "registry", "migrations")

DOORS = {
    "alembic": ("migrations", "registry/schema.py"),
    "audioseal": ("detectors/audioseal.py",),
    "av": ("safegen/audio.py", "safegen/encodings.py", "safegen/evaluation/attacks/ffmpeg.py"),
    "c2pa": ("safegen/provenance/c2pa.py",),
    "cryptography": ("safegen/provenance",),
    "diffusers": ("safegen/generation/diffusers_models", "safegen/evaluation/public_bench"),
    "hibari": ("safegen/training/voices.py",),
    "huggingface_hub": ("safegen/plugins.py", "safegen/hub.py"),
    "jinja2": ("safegen/pages.py",),
    "onnxruntime": ("safegen/training/optional.py",),
    "pesq": ("safegen/evaluation/quality.py",),
    "pydantic": ("safegen/policy",),
    "pyworld": ("safegen/training/vocoders.py",),
    "rfc8785": ("safegen/provenance/record.py", "safegen/policy/model.py"),
    "sklearn": ("safegen/training", "safegen/evaluation"),
    "soundfile": (
        "safegen/audio.py",
        "safegen/encodings.py",
        "safegen/evaluation/attacks/codecs.py",
    ),
    "tinysoundfont": ("safegen/generation/soundfont.py",),
    "tinytag": ("safegen/declarations.py",),
    "torchaudio": (
        "safegen/audio.py",
        "detectors",
        "safegen/evaluation/auditing/facts.py",
        "safegen/training/vocoders.py",
    ),
    "transformers": (
        "detectors/synthetic/plugins.py",
        "safegen/generation/transformers_models",
        "safegen/evaluation/attacks/encodec.py",
        "safegen/evaluation/public_bench",
    ),
    "visqol": ("safegen/evaluation/quality.py",),
    "yaml": (
        "safegen/policy",
        "safegen/cli/policy.py",
        "safegen/generation/transformers_models/audiogen.py",
    ),
}
"""Library -> the files or folders that may import it."""


def modules(folder: Path) -> Iterator[tuple[str, str]]:
    """Name every import below a folder as (file, module), lazy ones too."""
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield name, node.module


def test_the_layers_hold() -> None:
    code = (
        "from importlinter.cli import lint_imports\n"
        "raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("room", "foreign"),
    [
        ("detectors", {"safegen", "registry", "migrations", "sqlalchemy", "click"}),
        ("registry", {"safegen", "detectors", "migrations", "torch", "soundfile", "click"}),
        ("migrations", {"safegen", "detectors", "registry"}),
    ],
)
def test_a_room_does_not_know(room: str, foreign: set[str]) -> None:
    found = [
        f"{file} imports {module}"
        for file, module in modules(ROOT / room)
        if module.partition(".")[0] in foreign
    ]

    assert found == []


def test_each_foreign_library_has_its_door() -> None:
    found = [
        f"{file} imports {module}"
        for room in ROOMS
        for file, module in modules(ROOT / room)
        if (doors := DOORS.get(module.partition(".")[0])) is not None
        and not any(file == door or file.startswith(f"{door}/") for door in doors)
    ]

    assert found == []


def test_nothing_unpickles() -> None:
    found = [
        f"{file} imports {module}"
        for room in ROOMS
        for file, module in modules(ROOT / room)
        if module.partition(".")[0] in {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
    ]

    assert found == []


def in_a_fresh_interpreter(code: str) -> str:
    """Run code in a process that has imported nothing of ours."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ("torch", "numpy", "sqlalchemy", "scipy", "alembic", "transformers", "av", "pydantic")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from safegen.cli import main\n"
        "result = CliRunner().invoke(main, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    assert in_a_fresh_interpreter(code) == "[]\n"


def test_a_commands_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from safegen.cli import COMMANDS, main\n"
        "heavy = {}\n"
        "for command in COMMANDS:\n"
        "    result = CliRunner().invoke(main, [command, '--help'])\n"
        "    assert result.exit_code == 0, (command, result.output, result.exception)\n"
        f"    new = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    assert new == [], (command, new)\n"
    )

    in_a_fresh_interpreter(code)


@pytest.mark.parametrize("room", ["safegen", "detectors", "registry", "migrations"])
def test_importing_a_room_loads_nothing_heavy(room: str) -> None:
    code = f"import sys, {room}\nprint([name for name in {HEAVY!r} if name in sys.modules])"

    assert in_a_fresh_interpreter(code) == "[]\n"


def test_the_registry_does_not_load_torch_or_alembic() -> None:
    # Alembic is loaded by `db upgrade` only: every other command checks one number.
    code = (
        "import sys\n"
        "import registry.catalog, registry.releases, registry.schema, registry.session\n"
        "print([name for name in ('torch', 'alembic') if name in sys.modules])"
    )

    assert in_a_fresh_interpreter(code) == "[]\n"
