"""A lock that is given in the order in which it was asked for."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Threads stand in line; who gives the turn hands it to the first of them."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()  # each is released when its thread's turn has come

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, timeout: float) -> bool:
        """Wait for the turn; False if it did not come in so many seconds."""
        with self._mutex:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=timeout):
            return True
        with self._mutex:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return False
        return True  # it was given in the last moment

    def give(self) -> None:
        """End the turn."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False
