"""Which policy does this name mean? Reads YAML strictly and refuses what it does not know.

The three shipped names always mean the shipped files: a file in the operator's
folder cannot quietly become "strict".
"""

from collections.abc import Hashable
from importlib import resources
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from safegen.errors import InputError
from safegen.policy.model import Policy

SHIPPED: Final = ("strict", "standard", "permissive")
_MAX_BYTES: Final = 65_536


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without duplicate keys and without anchors, which could unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)  # type: ignore[arg-type]

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"key {key!r} appears twice in the block at line {line}")
        return super().construct_mapping(node, deep=deep)


def load(name_or_path: str, folder: Path | None = None) -> Policy:
    """Find and read a policy.

    Args:
        name_or_path: A shipped name, the name of a file in ``folder`` without its
            suffix, or a path that ends in .yaml or .yml.
        folder: The operator's own policies, ``Config.policies``.

    Raises:
        InputError: If there is no such policy, or the file is not a policy; the
            message names the field.
    """
    if name_or_path in SHIPPED:
        file = resources.files("safegen") / "policies" / f"{name_or_path}.yaml"
        return parse(file.read_text(encoding="utf-8"), source=name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = (folder or Path()) / f"{path.name}.yaml"
        if folder is None or Path(name_or_path).name != name_or_path or not path.is_file():
            raise InputError(
                f"no policy is called {name_or_path!r}",
                remedy=f"Use one of {', '.join(available(folder))}, or the path of a .yaml file.",
            )
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes, a policy has {_MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error})", remedy="Check the path with `safegen policy show`."
        ) from error
    policy = parse(text, source=str(path))
    if policy.name in SHIPPED:
        raise InputError(
            f"{path}: the name {policy.name!r} belongs to the shipped policy",
            remedy="Give your policy its own name.",
        )
    return policy


def parse(text: str, *, source: str) -> Policy:
    """Read a policy from YAML.

    Raises:
        InputError: If it is not one; every fault is named with its field.
    """
    try:
        raw = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            f"{source}: not a policy file ({' '.join(str(error).split())})",
            remedy="Compare it with `safegen policy show strict`.",
        ) from error
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'policy'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise InputError(
            f"{source}: not a valid policy: {faults}",
            remedy="Compare it with `safegen policy show strict`.",
        ) from error


def text_of(name: str) -> str:
    """Return the shipped file as it was written, comments included."""
    file = resources.files("safegen") / "policies" / f"{name}.yaml"
    return file.read_text(encoding="utf-8")


def available(folder: Path | None) -> tuple[str, ...]:
    """Name the shipped policies and those in the operator's folder."""
    own = sorted(path.stem for path in folder.glob("*.yaml")) if folder else []
    return (*SHIPPED, *(name for name in own if name not in SHIPPED))
