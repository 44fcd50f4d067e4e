"""Learn the sizes of images from their heads alone, for those that nobody has opened yet.

Nothing is kept here: the feeder takes an image whose size is known as opened, and sound.
"""

from __future__ import annotations

from projects import previews
from projects.models import Project


def measure(project: Project, images: list[tuple[int, str]]) -> dict[int, previews.ImageFacts]:
    """Return what is known of images (id, path) after reading their heads; one that can't be read is absent."""
    if not images:
        return {}
    results = previews.measure_all(project.dataset.datastore.open(), images)
    return {image_id: facts for image_id, facts in results if isinstance(facts, previews.ImageFacts)}
