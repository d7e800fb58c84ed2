"""Which optional software is here, and how is it started?

The synthesizers stand on libraries, models and programs that the project does not
depend on. Whatever is missing is named before anything is computed. Programs get a list
of arguments, the text in a file, and a time limit; there is no shell.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio, load
from safegen.errors import InputError, SafegenError

Needed = Literal["library", "program", "folder"]

TEXT: Final = "{text}"
WAVE: Final = "{wave}"
"""Stand for the two files in a program's arguments."""
_LIMIT_SECONDS: Final = 60


def is_here(kind: Needed, name: str) -> bool:
    """Look for a library (without importing it), a program, or a folder."""
    match kind:
        case "library":
            return importlib.util.find_spec(name) is not None
        case "program":
            return shutil.which(name) is not None
        case "folder":
            return Path(name).is_dir()


def package_file(package: str, name: str) -> Path:
    """Find a file inside an installed package, without importing the package.

    Raises:
        InputError: If the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        if (found := Path(folder) / name).is_file():
            return found
    raise InputError(
        f"{package}: no file {name} in {len(folders)} folders of that package",
        remedy=f"Run `pip install {package}`.",
    )


def run_model(session: Any, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Run an ONNX model; the first output, without its axes of length one."""
    return np.asarray(session.run(None, inputs)[0], dtype=np.float32).squeeze()


def load_model(path: Path, *, seed: int) -> Any:
    """Load an ONNX model for one thread.

    Args:
        path: Of the model.
        seed: Of the noise inside the model. It holds from the loading on, so that only
            the first run after it is reproducible.
    """
    import onnxruntime

    onnxruntime.set_seed(seed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def output_of(program: str, *arguments: str, text: str) -> str:
    """Run a program on a text and return what it prints.

    Args:
        program: Name, looked up in the path.
        arguments: ``TEXT`` among them becomes the file of the text.
        text: What the program reads.

    Raises:
        InputError: If the program is not here.
        SafegenError: If it fails or takes more than a minute.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _run(program, arguments, text, Path(folder))


def spoken_by(program: str, *arguments: str, text: str) -> Audio:
    """Have a program speak a text; ``TEXT`` and ``WAVE`` among its arguments become files.

    Raises:
        InputError: If the program is not here, or what it wrote cannot be read.
        SafegenError: If it fails or takes more than a minute.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run(program, arguments, text, Path(folder))
        return load(Path(folder) / "speech.wav")


def _run(program: str, arguments: tuple[str, ...], text: str, folder: Path) -> str:
    found = shutil.which(program)
    if found is None:
        raise InputError(f"{program} is not on this system", remedy=f"Run `apt install {program}`.")
    files = {TEXT: folder / "text.txt", WAVE: folder / "speech.wav"}
    files[TEXT].write_text(f"{text}\n", encoding="utf-8")
    filled = [str(files.get(argument, argument)) for argument in arguments]
    try:
        # The arguments are this project's own, the text is in a file, there is no shell.
        done = subprocess.run(  # noqa: S603
            [found, *filled], check=True, capture_output=True, timeout=_LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SafegenError(
            f"{program} took more than {_LIMIT_SECONDS} s for {len(text)} characters",
            remedy="Try a shorter text.",
        ) from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines() or ["no message"]
        raise SafegenError(
            f"{program} ended with status {error.returncode}: {lines[-1][:160]}",
            remedy="Run the program by hand, and check that its voice is installed.",
        ) from error
    return done.stdout.decode("utf-8", errors="replace")
