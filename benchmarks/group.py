"""How long does grouping a large project into pages take? The budget is two minutes for 500,000 embeddings on 2 cores.

    python -m benchmarks.group [--images 500000]

The embeddings are made up: 400 heaps in 20 classes, as wide as MobileNetV2's, with class scores beside them.
"""

from __future__ import annotations

import argparse
import resource
import time

from benchmarks import real_sets  # noqa: F401  first: it sets how threads wait

# isort: split
import numpy as np

from assist.pipeline import clusters

WIDTH, CLASSES, HEAPS, CHUNK = 1536, 20, 400, 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500_000)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(HEAPS, WIDTH)).astype(np.float32)
    heaps = rng.integers(HEAPS, size=given.images)
    embeddings = np.empty((given.images, WIDTH), np.float16)
    for start in range(0, given.images, CHUNK):
        part = centres[heaps[start : start + CHUNK]]
        embeddings[start : start + CHUNK] = (part + 1.5 * rng.standard_normal(part.shape, np.float32)) / 70
    scores = 0.3 * rng.normal(size=(given.images, CLASSES)).astype(np.float32)
    scores[np.arange(given.images), heaps % CLASSES] += 1
    start_time, start_cpu = time.perf_counter(), time.process_time()
    found = clusters.pages(embeddings, scores, 9, rng)
    print(
        f"{given.images} embeddings, {len(found)} pages in {time.perf_counter() - start_time:.0f} s "
        f"({time.process_time() - start_cpu:.0f} s of processor time); "
        f"purity {clusters.purity(found, heaps % CLASSES):.3f}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"
    )


if __name__ == "__main__":
    main()
