"""Arrays that processes share: equal to the bit, mapped once, read-only."""

import gc
import logging
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from bigrec.storage.arrays import read_arrays, write_arrays
from bigrec.storage.sharing import remove_unused, shared, sharing_arrays
from bigrec.types import FloatArray


def large(**changes: float) -> FloatArray:
    array = np.random.default_rng(0).normal(size=(300, 200))
    array[0, 0] = changes.get("first", -0.0)
    return array


def mapped_files(folder: Path) -> list[str]:
    """Files of a folder that this process maps; those of other tests may be mapped still."""
    paths = [Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines()]
    return [str(path) for path in paths if path.suffix == ".array" and path.parent == folder]


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_the_same_to_the_bit_and_read_only(
    tmp_path: Path, order: Literal["C", "F"]
) -> None:
    array = np.asarray(large(), order=order)
    array[1, 1] = np.nan
    with sharing_arrays(tmp_path):
        found = shared(array)
    assert found.tobytes("A") == array.tobytes("A")
    assert (found.dtype, found.shape, found.strides) == (array.dtype, array.shape, array.strides)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_map_one_file(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from bigrec.storage.sharing import shared, sharing_arrays\n"
        "from tests.storage.test_sharing import large, mapped_files\n"
        "folder = Path(sys.argv[1])\n"
        "with sharing_arrays(folder): array = shared(large())\n"
        "print(mapped_files(folder)[0])"
    )
    with sharing_arrays(tmp_path):
        first = shared(large())
        second = shared(large())
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    (file,) = tmp_path.glob("*.array")
    assert done.stdout.strip() == str(file)
    assert set(mapped_files(tmp_path)) == {str(file)}
    assert np.array_equal(first, second)


def test_arrays_that_differ_in_a_bit_are_two_files(tmp_path: Path) -> None:
    with sharing_arrays(tmp_path):
        shared(large(first=0.0))
        shared(large(first=-0.0))
    assert len(list(tmp_path.glob("*.array"))) == 2


def test_files_are_removed_when_no_array_needs_them(tmp_path: Path) -> None:
    with sharing_arrays(tmp_path):
        kept = shared(large())
        shared(large(first=1.0))
    gc.collect()
    remove_unused(tmp_path)
    (file,) = tmp_path.glob("*.array")
    del kept
    gc.collect()
    remove_unused(tmp_path)
    assert not file.exists()


def test_stored_arrays_are_shared_and_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"x": large(), "small": np.arange(3.0)})
    folder = tmp_path / "shared"
    folder.mkdir()
    with sharing_arrays(folder):
        arrays = read_arrays(path)
    assert not arrays["x"].flags.writeable
    assert len(list(folder.glob("*.array"))) == 1
    # As a copy over the served bundle does, first of all.
    path.write_bytes(b"")
    np.testing.assert_array_equal(arrays["x"], large())


def test_nothing_is_shared_outside_the_block_or_where_it_does_not_pay(tmp_path: Path) -> None:
    array = large()
    with sharing_arrays(None):
        assert shared(array) is array
    with sharing_arrays(tmp_path):
        assert shared(array[:, ::2]).base is array
        assert shared(small := np.zeros(3)) is small
    assert shared(array) is array
    assert not list(tmp_path.glob("*.array"))


def test_a_folder_that_cannot_be_written_costs_memory_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with caplog.at_level(logging.WARNING), sharing_arrays(tmp_path / "file" / "folder"):
        assert shared(array := large()) is array
    assert "is not shared" in caplog.text


def test_a_file_of_other_content_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    array = large()
    with sharing_arrays(tmp_path):
        shared(array)
    (file,) = tmp_path.glob("*.array")
    file.write_bytes(bytes(array.nbytes))
    with caplog.at_level(logging.WARNING), sharing_arrays(tmp_path):
        assert shared(array) is array
    assert "is damaged" in caplog.text
