import datetime
import shutil
import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.ops import native


@pytest.fixture
def fresh():
    native.module.cache_clear()
    yield
    native.module.cache_clear()


def test_module_is_built_from_these_sources():
    assert native.module().source_hash == native.source_hash(native.SOURCES)


def test_stale_module_is_refused(tmp_path, monkeypatch, fresh):
    shutil.copytree(native.SOURCES, tmp_path / "native")
    monkeypatch.setattr(native, "SOURCES", tmp_path / "native")
    assert native.module()
    native.module.cache_clear()
    with (tmp_path / "native/src/cpu/packing.cpp").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=r"built from other sources .* run `make build`"):
        native.module()


def test_tests_and_stray_files_do_not_count(tmp_path):
    shutil.copytree(native.SOURCES, tmp_path / "native")
    (tmp_path / "native/tests/more.cpp").write_text("int x;")
    assert native.source_hash(tmp_path / "native") == native.source_hash(native.SOURCES)


def test_missing_module_is_a_users_error(monkeypatch, fresh):
    monkeypatch.setitem(sys.modules, "quintet_native", None)
    with pytest.raises(UserError, match="run `make build`"):
        native.module()


def test_objects_that_are_no_tensors_are_refused():
    with pytest.raises(ValueError, match="digits must be a tensor"):
        native.module().pack(3, 4)
    with pytest.raises(ValueError, match="digits must be a DLPack tensor"):
        native.module().pack(datetime.datetime_CAPI, 4)


def test_imports_where_the_stages_packages_are_not_installed():
    """A machine with only torch can use the operations."""
    blocked = ["pydantic", "yaml", "mlflow", "dvc", "typer", "rich"]
    use = "from pipeline import ops; import torch; ops.pack(torch.zeros(1, 3).char())"
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); {use}"
    subprocess.run([sys.executable, "-c", code], check=True)
