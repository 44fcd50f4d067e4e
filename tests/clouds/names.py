"""What every server of the tests holds."""

CONTAINER = "pictures"
BULK = "bulk"


def bulk_names(count: int) -> list[str]:
    """Return the names of many blobs, in the order in which stores list them."""
    return [f"{BULK}/{number // 1000:03}/{number:06}.png" for number in range(count)]
