"""moto's S3 server, its bucket filled before it listens: python -m tests.clouds.s3_server PORT COUNT."""

from __future__ import annotations

import logging
import sys
from io import BytesIO

from moto.s3.models import s3_backends
from moto.server import main
from PIL import Image as Picture

from tests.clouds.names import CONTAINER, bulk_names

if __name__ == "__main__":
    port, count = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    bucket = s3_backends["123456789012"]["aws"]
    bucket.create_bucket(CONTAINER, "us-east-1")
    file = BytesIO()
    Picture.new("RGB", (8, 6), (200, 60, 90)).save(file, "PNG")
    content = file.getvalue()
    for name in bulk_names(int(count)):
        bucket.put_object(CONTAINER, name, content)
    main(["-H", "127.0.0.1", "-p", port])
