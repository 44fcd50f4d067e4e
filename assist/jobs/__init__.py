"""The work of each kind of run: rows to arrays, pipeline, arrays to rows. Runs in the child process."""

from assist.jobs.work import perform

__all__ = ["perform"]
