"""What all tests of assistance want."""

import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def _in_english() -> None:
    """Have logs in English, whatever language a test before has asked the site for in this thread."""
    translation.activate("en")
