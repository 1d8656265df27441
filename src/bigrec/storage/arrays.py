"""Files of arrays: safetensors, with shapes and values checked against what is expected.

The format stores arrays as they are, so that reading takes no more memory than the file's size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from bigrec.errors import BundleError
from bigrec.storage import atomic_file
from bigrec.storage.sharing import shared

CURE = "Fit and save it again."
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Expected:
    """A stored array as it has to be.

    Attributes:
        shape: Sizes, or letters that stand for the same size wherever they occur.
        dtypes: Names of the possible types, such as ``float32``.
        least: Smallest value.
        below: Values are less; a letter stands for its size.
    """

    shape: tuple[str | int, ...]
    dtypes: tuple[str, ...] = ("float32",)
    least: float | None = None
    below: float | str | None = None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file of arrays by name, whole or not at all.

    Raises:
        StorageError: If it cannot be written.
    """
    # Serialized in memory and written by Python, so that a full disk is an OSError.
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def read_arrays(path: Path, *, cure: str = CURE) -> Arrays:
    """Read a file of arrays by name; within `sharing_arrays`, large ones are shared.

    Args:
        path: The file.
        cure: Advice for the user, a sentence.

    Raises:
        BundleError: If it is missing, or is no safetensors file of numbers that numpy knows.
    """
    if not path.is_file():
        raise unusable(path, "it is missing", cure=cure)
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"it is not a safetensors file of arrays ({error})"
        raise unusable(path, reason, cure=cure) from None
    return {name: shared(array) for name, array in arrays.items()}


def check_arrays(
    path: Path,
    arrays: Arrays,
    expected: Mapping[str, Expected],
    *,
    sizes: Mapping[str, int] | None = None,
    cure: str = CURE,
) -> dict[str, int]:
    """Refuse arrays that are not as expected.

    Args:
        path: Where they were read from, for the message.
        arrays: By name. All must be expected.
        expected: By name. All must be there.
        sizes: Known sizes by their letters.
        cure: Advice for the user, a sentence.

    Returns:
        The sizes by their letters.

    Raises:
        BundleError: If an array is missing, unknown, of another type or shape, holds NaN or
            infinity, or a value is out of range.
    """
    found = dict(sizes or {})
    missing = [name for name in expected if name not in arrays]
    unknown = sorted(arrays.keys() - expected.keys())
    reason = None
    if missing:
        reason = f"it lacks {', '.join(missing)}"
    elif unknown:
        reason = f"it holds {', '.join(unknown)[:200]}, which nothing reads"
    for check in (_shape_problem, _value_problem):
        for name, wanted in expected.items():
            reason = reason or check(name, arrays[name], wanted, found)
    if reason is not None:
        raise unusable(path, reason, cure=cure)
    return found


def unusable(path: Path, reason: str, *, cure: str = CURE) -> BundleError:
    """The error of a stored part that cannot be used."""
    return BundleError(f"{path} cannot be used: {reason}. {cure}")


def _shape_problem(
    name: str, array: NDArray[Any], wanted: Expected, sizes: dict[str, int]
) -> str | None:
    """What is wrong with an array's type or shape. Letters that are new get their sizes."""
    fits = array.dtype.name in wanted.dtypes and array.ndim == len(wanted.shape)
    if fits:
        for size, letter in zip(array.shape, wanted.shape, strict=True):
            fits &= size == (sizes.setdefault(letter, size) if isinstance(letter, str) else letter)
    if fits:
        return None
    shape = ", ".join(map(str, wanted.shape))
    known = {letter: sizes[letter] for letter in map(str, wanted.shape) if letter in sizes}
    told = ", ".join(f"{letter} = {size}" for letter, size in known.items())
    return (
        f"{name} is {array.dtype} of shape {list(array.shape)}; expected "
        f"{' or '.join(wanted.dtypes)} of shape [{shape}]{f' with {told}' if told else ''}"
    )


def _value_problem(
    name: str, array: NDArray[Any], wanted: Expected, sizes: Mapping[str, int]
) -> str | None:
    if not array.size:
        return None
    low, high = array.min(), array.max()
    # A NaN anywhere is the minimum and the maximum.
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{name} holds NaN or infinity; expected finite numbers"
    below = sizes[wanted.below] if isinstance(wanted.below, str) else wanted.below
    too_low = wanted.least is not None and low < wanted.least
    if not too_low and (below is None or high < below):
        return None
    limits = [f"at least {wanted.least}"] if wanted.least is not None else []
    limits += [f"below {below}"] if below is not None else []
    return f"{name} holds values from {low} to {high}; expected {' and '.join(limits)}"
