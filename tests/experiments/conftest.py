"""Reports of experiments without their plots, which take longer than all the rest."""

from base64 import b64decode
from collections.abc import Iterator

import pytest

import bigrec.evaluation.reports.comparison
import bigrec.experiments.pipeline

_PIXEL = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="package", autouse=True)
def _plots_of_a_pixel() -> Iterator[None]:
    """Nothing is drawn; the tests of the reports, of the commands and of real models draw."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (bigrec.evaluation.reports.comparison, bigrec.experiments.pipeline):
            for name in [name for name in vars(module) if name.startswith("draw_")]:
                patch.setattr(module, name, lambda *_, **__: None)
            patch.setattr(module, "to_png", lambda _: _PIXEL)
        yield
