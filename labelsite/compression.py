"""Answers go out compressed, but for those that are so already."""

from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware

PACKED = ("image/", "application/octet-stream")  # previews and originals: twice the work, and no byte less


class CompressionMiddleware(GZipMiddleware):
    """Django's, for texts only."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Compress the answer if that makes it shorter."""
        if response.get("Content-Type", "").startswith(PACKED):
            return response
        return super().process_response(request, response)
