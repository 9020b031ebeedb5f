"""A folder and what lies in a bucket, each as the other."""


def upload(folder, place):
    """Write a folder's files below a place, and a marker for each empty folder in it."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            (place / name).write_bytes(path.read_bytes())
        elif not any(path.iterdir()):
            place._files.pipe_file(f"{place.key}/{name}/", b"")
    return place


def contents(place):
    """Every object below a place that holds a result, but for the times in ``log``."""
    return {
        name: (place / name).read_bytes()
        for name in place.below()
        if not name.startswith("log/") and name != ".lock"
    }
