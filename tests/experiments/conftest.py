"""Reports of experiments have no plots."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_plots(plots_of_a_pixel: None) -> None:
    """For every module."""
