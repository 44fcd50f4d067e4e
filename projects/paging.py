"""Lists of the API in pages by key: as fast on the last page as on the first."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

MAX_DIGITS = 18  # of what a key may be: below what a column holds


class KeysetPagination(CursorPagination):
    """Cursor paging by id, newest first."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"
    page_size_query_description = "How many results to return; more than 1000 counts as 1000."
    ordering = "-id"

    def get_page_size(self, request: Request) -> int:
        """Return how many were asked for. Raises ValidationError for what is no number."""
        asked = request.query_params.get(self.page_size_query_param)
        if asked is None:
            return self.page_size
        if not (asked.isascii() and asked.isdigit() and asked.strip("0")):
            raise ValidationError({self.page_size_query_param: [_("This is a number from 1 to 1000.")]})
        return self.max_page_size if len(asked) > 4 else min(int(asked), self.max_page_size)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Read the cursor. Raises ValidationError for one that this site has not made."""
        wrong = ValidationError({self.cursor_query_param: [_("This is not the cursor of a page. Follow “next”.")]})
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            raise wrong from None
        position = None if cursor is None or cursor.position is None else str(cursor.position)
        if position is not None and not (position.isascii() and position.isdigit() and len(position) <= MAX_DIGITS):
            raise wrong
        return cursor

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Say in the schema that the number is one of at least 1."""
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] = {"type": "integer", "minimum": 1, "default": self.page_size}
        return parameters
