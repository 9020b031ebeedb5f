"""The user's own modules that results follow from, known by what their files hold."""

import ast
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lookaway.errors import InputError
from lookaway.hashing import digest, digest_json
from lookaway.registry import is_own_code

# Modules that this process runs: what loaded each, and its file's checksum then.
_RUNNING: dict[str, tuple[object, str]] = {}


def own_code(names: Iterable[str]) -> dict[str, str]:
    """The checksum of each user's own module that is named, and of those of theirs that it imports.

    Of an installed module it is that of its file and its package's version.

    Args:
        names: of attacks, explainers and networks.

    Raises:
        InputError: a module's file was changed since this process first asked; its old code runs.
    """
    homes = dict.fromkeys(name.partition(":")[0] for name in names if is_own_code(name))
    found = {}
    for home in homes:
        import_module(home)
        files = {name: digest(path.read_bytes()) for name, path in _files(home).items()}
        for name, checksum in files.items():
            _check_running(name, checksum)
        with suppress(PackageNotFoundError):
            files["version"] = version(home.partition(".")[0])
        if files:
            found[home] = digest_json(files)
    return found


def _check_running(name: str, checksum: str) -> None:
    """Refuse a module whose file is another one than that which was imported."""
    module = sys.modules.get(name)
    spec = module and module.__spec__  # another one after each import and reload
    known = _RUNNING.get(name)
    if module and spec and known is not None and known[0] is spec and known[1] != checksum:
        raise InputError(
            f"{module.__file__!r} was changed since this process imported it, so its old code "
            "would run: run it in a new process, or importlib.reload() it first"
        )
    _RUNNING[name] = spec, checksum


def _files(home: str) -> dict[str, Path]:
    """A module's file, and those of the user's own modules that it imports, anywhere in its code.

    What is installed is not followed: its version is known.
    """
    found: dict[str, Path] = {}
    left = [home]
    while left:
        name = left.pop()
        path = None if name in found else _file_of(name)
        if path is None or (_is_installed(path) and name != home):
            continue
        found[name] = path
        if path.suffix == ".py" and not _is_installed(path):
            left += [name.rpartition(".")[0]] if "." in name else []
            left += _imports(path, name if path.name == "__init__.py" else name.rpartition(".")[0])
    return dict(sorted(found.items()))


def _is_installed(path: Path) -> bool:
    kept = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    roots = [Path(__file__).parent, *map(Path, [*kept, *site.getsitepackages()])]
    return any(root in path.parents for root in [*roots, Path(site.getusersitepackages())])


def _file_of(name: str) -> Path | None:
    """The file of a module, which is not imported; None where there is no such module."""
    top, *inside = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # of what was not loaded from a file
        return None
    for part in inside:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", [*spec.submodule_search_locations])
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _imports(path: Path, package: str) -> Iterator[str]:
    """What a file's code imports, by names of which some are no modules."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # of a module that its importer can do without
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{each.name}" for each in node.names)
