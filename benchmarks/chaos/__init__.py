"""A site at work whose processes are killed at random: `python -m benchmarks.chaos` (docs/benchmarks.md)."""
