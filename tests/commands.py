"""Commands as they are typed, run in this process."""

import io
import sys

import pytest

from lookaway import cli


def lookaway(*arguments, encoding="utf-8"):
    """Run a command whose console or file has an encoding: its exit code, and what it wrote."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lookaway", *map(str, arguments)])
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as caught:
            cli.main()
        for stream in streams:
            stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    return caught.value.code, out, err
