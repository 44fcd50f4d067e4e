"""What the API takes as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """JSON that any database can hold: no NUL, no half characters, no NaN, no endless depth; of a bounded size."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the parsed body. Raises ParseError; what is too large is 413."""
        body = (parser_context or {})["request"].body  # unlike the stream, this has a limit
        if b"\\u0000" in body:
            raise ParseError(_("The JSON holds a NUL character, which no text has."))
        try:
            return orjson.loads(body)
        except ValueError as error:
            raise ParseError(_("This is not JSON: %(error)s.") % {"error": error}) from error
