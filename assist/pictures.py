"""A project's images as pictures for a model, in their order, read ahead of the work."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageOps

from projects import previews, render
from projects.models import Image, Project
from projects.stores import CHUNK, Store, StoreError

THREADS = 4
AHEAD = 64
Pillow.MAX_IMAGE_PIXELS = render.MAX_PIXELS


class Pictures:
    """Opens the images of one project; what can't be opened is None, and counted."""

    def __init__(self, project: Project, side: int) -> None:
        self.store: Store = project.dataset.datastore.open()
        self.datastore = project.dataset.datastore_id
        self.side = side  # the network looks at no more pixels than this, so JPEG may be decoded smaller
        self.n_unreadable = 0

    def read(self, images: Iterable[Image]) -> Iterator[Pillow.Image | None]:
        """Yield one picture for each image, opened by threads ahead of who asks."""
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: deque[Future[Pillow.Image | None]] = deque()
            for image in images:
                waiting.append(pool.submit(self.open, image))
                if len(waiting) >= AHEAD:
                    yield self._count(waiting.popleft().result())
            while waiting:
                yield self._count(waiting.popleft().result())

    def _count(self, picture: Pillow.Image | None) -> Pillow.Image | None:
        self.n_unreadable += picture is None
        return picture

    def open(self, image: Image) -> Pillow.Image | None:
        """Return the picture as it is displayed, or None."""
        if image.problem:
            return None
        with suppress(render.Refused, StoreError, OSError, ValueError, SyntaxError, MemoryError):
            return self._open(image)
        return None

    def _open(self, image: Image) -> Pillow.Image:
        path = self.store.path(image.path)
        if path is not None:
            with self.store.open(image.path):  # it is where it should be
                return self._decode(path, image)
        preview = previews.preview_path(self.datastore, image.path, image.etag, 512)
        if preview.exists() and self.side <= 512:
            return self._decode(preview)
        with self.store.open(image.path) as remote, tempfile.NamedTemporaryFile(prefix="labelsite-image-") as copy:
            while chunk := remote.read(CHUNK):
                copy.write(chunk)
            copy.flush()
            return self._decode(Path(copy.name), image)

    def _decode(self, path: Path, original: Image | None = None) -> Pillow.Image:
        picture = render.open_image(str(path))
        if original is not None and original.width is None:  # nobody has opened it yet; boxes need its size
            original.width, original.height, _orientation = render.displayed_size(picture)
        picture.draft("RGB", (2 * self.side, 2 * self.side))
        picture.load()
        with suppress(Exception):  # a broken EXIF block does not make a picture unreadable
            return render.flatten(ImageOps.exif_transpose(picture))
        return render.flatten(picture)
