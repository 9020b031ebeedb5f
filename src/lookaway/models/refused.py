"""Why a file holds no weights that can be read: what it holds instead, and what to do."""

import json
import re
import zipfile
from pathlib import Path

import torch

from lookaway.errors import listed, shown

_ALONE = "torch.save(model.state_dict(), 'weights.pt'), or as .safetensors"
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<script")
_LARGEST_INDEX = 100_000_000  # bytes of a JSON file that is looked into


def what_it_is(path: Path) -> str | None:
    """What a file is that cannot be weights, from its first bytes; None where it may be some.

    Returns:
        The end of a sentence that begins with the file's name, with the remedy.
    """
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty (0 bytes); copy or download it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"
    if text.startswith(_PAGES):
        return (
            "is a web page, not weights (a download that was refused, or that asks for a login?); "
            "download the file itself"
        )
    if text[:1] in (b"{", b"["):
        return _json(path)
    if head.startswith(b"\x89HDF"):
        return f"is an HDF5 file, as Keras writes them; PyTorch's weights are needed: {_ALONE}"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it and give the file of weights that is in it"
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            return f"is a {kind} archive; unpack it and give the file of weights that is in it"
    return _zip(path) if head.startswith(b"PK") else None


def why_refused(path: Path, error: Exception) -> str:
    """Why ``torch.load`` with ``weights_only=True`` refuses a file; see ``what_it_is``."""
    names = _unsafe(path, str(error))
    if names:
        told = listed(shown(name, 100) for name in names)
        return (
            f"holds more than tensors and plain data: {told}. Loading these may run a "
            "program, so the file is refused (weights_only=True); where you trust it, save the "
            f"weights alone: {_ALONE}"
        )
    told = str(error).partition("WeightsUnpickler error: ")[2].strip() or str(error).strip()
    first = told.partition("\n")[0]
    first = "" if "weights_only" in first else shown(first, 120)
    reason = f" ({first})" if first else ""
    return (
        f"is no checkpoint that torch.load(weights_only=True) can read{reason}; is it whole? Save "
        f"the state dict: {_ALONE}"
    )


def _unsafe(path: Path, message: str) -> list[str]:
    """Names of what is refused in a pickle."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # noqa: BLE001  a broken file, or the older format: the message names one
        found = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", message)
        return [found[1]] if found else []


def _json(path: Path) -> str:
    try:
        small = path.stat().st_size <= _LARGEST_INDEX
        whole = json.loads(path.read_text(encoding="utf-8-sig")) if small else None
    except (OSError, ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict) and "weight_map" in whole:
        return (
            "is the index of weights that lie in several files (shards), and one file is needed: "
            f"load the network where they are and save it whole: {_ALONE}"
        )
    return f"is text (JSON?), not weights; save the network's own: {_ALONE}"


def _zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "begins as torch.save writes it and is cut or damaged; copy or download it again"
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        return (
            f"is a TorchScript archive, a program and not weights; save the network's own: {_ALONE}"
        )
    if {"archive_format", "serialized_exported_program.json"} & {*names, *inner}:
        return (
            f"is an exported program (torch.export), not weights; save the network's own: {_ALONE}"
        )
    if "data.pkl" not in inner:
        return "is a zip archive without weights; unpack it and give the file that is in it"
    return None
