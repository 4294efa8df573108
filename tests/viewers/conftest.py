"""The study that all viewers show."""

import pytest

from tests.viewers.shown_study import ShownStudy, draw


@pytest.fixture(scope="session")
def shown_study(tmp_path_factory: pytest.TempPathFactory) -> ShownStudy:
    """Four views with a square in each corner, on disk, and what an assessment says of them."""
    return draw(tmp_path_factory.mktemp("shown"))
