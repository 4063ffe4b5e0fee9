"""One finished toy world for all tests of the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume on which the toy demo has run; a test that changes a file puts it back."""
    volume = tmp_path_factory.mktemp("a volume")  # with a space in its path
    done = run("demo", volume)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return volume
