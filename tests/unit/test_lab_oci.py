"""The layers of the node's images."""

import os
import tarfile
from pathlib import Path

from tests.lab.oci import Layout

LONG_AGO = 1_000_000_000


def test_files_keep_their_times(tmp_path: Path) -> None:
    """Where they have others, Python compiles every module at every start of a container."""
    module = tmp_path / "base" / "module.py"
    module.parent.mkdir()
    module.write_text("")
    os.utime(module, (LONG_AGO, LONG_AGO))
    layout = Layout(tmp_path / "layout", module.parent)
    with tarfile.open(tmp_path / "layout" / "blobs" / "sha256" / layout.base.digest) as layer:
        assert layer.getmember("./module.py").mtime == LONG_AGO
