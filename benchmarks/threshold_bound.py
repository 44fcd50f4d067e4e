"""How often does the promise of prelabels break, and what does keeping it cost?

Simulates projects from the first image to the last with the very functions of the site: batches of blind labels, head,
ledger, threshold, pages. Truth answers blank images; whoever confirms prelabels does so without looking, and training
sees those labels, wrong ones too.

    python -m benchmarks.threshold_bound [--data ../shared/data] [--sets cls_sign_digits cls_trashnet] [--projects 1000]

Broken: more than 1 - target of the labels that came from prelabels are wrong at the end ("below": with 95 %
confidence). All-knowing: the same loop with the lowest threshold at which the truth keeps the promise. Actions an
image: one key for a clustered page and one for each odd one (two with "odd one 2"), one for a prelabeled page of 9;
without clusters one for each blank image.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import real_sets  # first: it sets how threads wait

# isort: split
import numpy as np
from scipy.special import betaincinv
from threadpoolctl import threadpool_limits

from assist.pipeline import choosing, clusters, head, ledger, policy

FIRST_SEED = 50_000  # no constant was chosen with these seeds


@dataclass
class Settings:
    """What is varied."""

    target: float = 0.95
    first: int = policy.FIRST_BATCH
    growth: float = policy.GROWTH
    shuffled: bool = False
    all_knowing: bool = False
    careless: bool = False  # answers a whole clustered page with the key of most of it
    odd: int = 1
    clustered: bool = False


@dataclass
class Project:
    """What became of one simulated project."""

    images: int
    published: int = 0
    wrong: int = 0
    worst: float = 0.0  # share of wrong labels at the worst moment
    actions: int = 0
    runs: int = 0
    purity: list[float] = field(default_factory=list)

    @property
    def coverage(self) -> float:
        """Return the share of images that were prelabeled."""
        return self.published / self.images

    def broken(self, target: float) -> bool:
        """Tell whether the promise is broken at the end."""
        return self.wrong > (1 - target) * self.published + 1e-9


def simulate(gram: np.ndarray, x: np.ndarray, truth: np.ndarray, seed: int, settings: Settings) -> Project:
    """Label a set to its end, in a random order of its own."""
    rng = np.random.default_rng(seed)
    n_classes = int(truth.max()) + 1
    if settings.shuffled:
        truth = rng.integers(n_classes, size=len(truth))
    waiting = rng.permutation(len(truth))
    labels = np.full(len(truth), -1)
    blind = np.zeros(0, int)
    in_play = np.zeros(0, bool)  # of the blind labels
    confirmed = np.zeros(0, int)
    project = Project(len(truth))
    scores: np.ndarray | None = None
    n0 = k0 = 0
    while len(waiting):
        size = policy.next_training(len(blind), settings.first, settings.growth) - len(blind)
        batch, waiting = waiting[:size], waiting[size:]
        given = None if scores is None else scores[: len(batch)]
        labels[batch] = answer(batch, x, given, truth, rng, project, settings)
        blind, in_play = np.append(blind, batch), np.append(in_play, np.ones(len(batch), bool))
        if not len(waiting):
            break
        old, some = choosing.training_set(blind, confirmed, rng)
        train = np.concatenate([old, some])
        solution = head.solve(gram[np.ix_(train, train)], head.one_hot(labels[train], n_classes))
        project.runs += 1
        own = solution.loo[: len(old)]
        scores = solution.scores(gram[np.ix_(waiting, train)])
        right = head.predict(own) == labels[blind]
        sure, theirs = head.margin(own), head.margin(scores)
        predicted = head.predict(scores)
        if settings.all_knowing:
            threshold = knowing_threshold(theirs, predicted == truth[waiting], project, settings.target)
        else:
            threshold = ledger.decide(
                sure[in_play], right[in_play], theirs, n0, k0, project.published, settings.target
            ).threshold
        if threshold is None:
            continue
        shown = theirs >= threshold
        leaving = in_play & (sure >= threshold)
        n0, k0 = n0 + int(leaving.sum()), k0 + int((leaving & ~right).sum())
        in_play &= ~leaving
        labels[waiting[shown]] = predicted[shown]
        confirmed = np.append(confirmed, waiting[shown])
        project.published += int(shown.sum())
        project.wrong += int((predicted[shown] != truth[waiting[shown]]).sum())
        project.worst = max(project.worst, project.wrong / max(1, project.published))
        project.actions += len(choosing.pages_by_class(predicted[shown], theirs[shown]))
        waiting, scores = waiting[~shown], scores[~shown]
    return project


def answer(
    batch: np.ndarray,
    x: np.ndarray,
    scores: np.ndarray | None,
    truth: np.ndarray,
    rng: np.random.Generator,
    project: Project,
    settings: Settings,
) -> np.ndarray:
    """Answer a batch on blank pages, count the keys, and return its labels."""
    given = truth[batch].copy()
    if not settings.clustered:
        project.actions += len(batch)
        return given
    for page in clusters.pages(x[batch], scores, policy.PAGE, rng):
        counts = np.bincount(truth[batch[page]])
        odd = len(page) - int(counts.max())
        project.purity.append(1 - odd / len(page))
        if settings.careless:
            given[page] = counts.argmax()
            project.actions += 1
        else:
            project.actions += min(len(page), 1 + settings.odd * odd)
    return given


def knowing_threshold(sure: np.ndarray, right: np.ndarray, project: Project, target: float) -> float | None:
    """Return the lowest threshold at which the promise holds, in truth."""
    order = np.argsort(-sure, kind="stable")
    wrong = project.wrong + np.cumsum(~right[order])
    fine = np.flatnonzero(wrong <= (1 - target) * (project.published + np.arange(1, len(order) + 1)) + 1e-9)
    return float(sure[order[fine[-1]]]) if len(fine) else None


def report(projects: list[Project], settings: Settings, seconds: float) -> dict[str, Any]:
    """Return what many projects say together."""
    broken = sum(project.broken(settings.target) for project in projects)
    published = [project.published for project in projects]
    n = len(projects)
    return {
        **asdict(settings),
        "projects": n,
        "broken": broken / n,
        "broken_below": float(betaincinv(broken + 1, n - broken, 0.95)) if broken < n else 1.0,
        "worst_moment_above": sum(project.worst > 1 - settings.target for project in projects) / n,
        "wrong": sum(project.wrong for project in projects) / max(1, sum(published)),
        "coverage": float(np.mean([project.coverage for project in projects])),
        "nothing_published": sum(not count for count in published) / n,
        "actions": float(np.mean([project.actions / project.images for project in projects])),
        "purity": float(np.mean([np.mean(p.purity) for p in projects])) if projects[0].purity else None,
        "runs": float(np.mean([project.runs for project in projects])),
        "seconds_each": seconds / n,
    }


def plan(projects: int) -> list[tuple[str, int, Settings]]:
    """Return what is simulated: a name, how many projects, settings."""
    few = max(1, projects // 5)
    return [
        ("target 95 %", projects, Settings()),
        ("all-knowing threshold", few, Settings(all_knowing=True)),
        ("with clusters", max(1, projects // 20), Settings(clustered=True)),
        ("with clusters, odd one 2", max(1, projects // 20), Settings(clustered=True, odd=2)),
        ("target 90 %", few, Settings(target=0.90)),
        ("target 97 %", few, Settings(target=0.97)),
        ("growth 1.2", few, Settings(growth=1.2)),
        ("growth 2", few, Settings(growth=2.0)),
        ("first batch 50", few, Settings(first=50)),
        ("first batch 300", few, Settings(first=300)),
        ("one key a clustered page", max(1, projects // 20), Settings(clustered=True, careless=True)),
        ("shuffled labels", max(1, projects // 10), Settings(shuffled=True)),
    ]


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_sets.DATA)
    parser.add_argument("--sets", nargs="+", default=["cls_sign_digits", "cls_trashnet"])
    parser.add_argument("--weights", type=Path, help="folder of weights (default: weights/ in the data folder)")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--projects", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--only", nargs="+", help="names of the settings to simulate")
    parser.add_argument("--cache", type=Path, default=real_sets.ROOT / "var" / "embeddings")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    given = parser.parse_args()
    results: list[dict[str, Any]] = []
    for name in given.sets:
        data = real_sets.read(given.data / name)
        x, words = real_sets.features(data, given.weights or given.data / "weights", given.backbone, given.cache)
        gram = head.kernel(x, x).astype(np.float32)
        print(f"\n{name}: {len(x)} images, {len(data.names)} classes; {words}")
        heads = ("broken", "below", "wrong", "shown", "nothing", "actions", "runs", "s each")
        print(f"{'':26}{'projects':>9}" + "".join(f"{word:>8}" for word in heads))
        for label, count, settings in plan(given.projects):
            if given.only and label not in given.only:
                continue
            start = time.perf_counter()
            with threadpool_limits(1):  # small matrices: more threads only wait for each other
                projects = [simulate(gram, x, data.truth, given.seed + number, settings) for number in range(count)]
            found = report(projects, settings, time.perf_counter() - start)
            results.append({"set": name, "weights": words, "name": label, **found})
            print(
                f"{label:26}{count:9}{found['broken']:8.1%}{found['broken_below']:8.1%}{found['wrong']:8.1%}"
                f"{found['coverage']:8.3f}{found['nothing_published']:8.1%}{found['actions']:8.3f}{found['runs']:8.1f}"
                f"{found['seconds_each']:8.2f}",
                flush=True,
            )
            if given.json:
                given.json.write_text(json.dumps(results, indent=1))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
