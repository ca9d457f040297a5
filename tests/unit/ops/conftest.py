import pytest

from pipeline.ops import native


@pytest.fixture
def level():
    """`level(name)` chooses a level until the test's end."""
    before = native.module().level()
    yield native.module().use_level
    native.module().use_level(before)
