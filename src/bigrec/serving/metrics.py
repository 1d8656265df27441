"""What Prometheus is told beside the requests themselves."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bigrec.recommender.recommendations import Recommendations

_MARGINS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics:
    """Counters and distributions of one service.

    Args:
        registry: Collects them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "bigrec_answers",
            "Recommended lists by their source: the language model, text mode, fused signals, or "
            "popularity where nothing is known of the history.",
            ["source"],
            registry=registry,
        )
        self.margin = Histogram(
            "bigrec_distance_margin",
            "Distance of the second nearest item of a list less that of the nearest.",
            buckets=_MARGINS,
            registry=registry,
        )
        self.generated = Counter(
            "bigrec_generated_titles",
            "Generated texts of first items, by whether they are the item's title.",
            ["exact"],
            registry=registry,
        )
        self.batch_size = Histogram(
            "bigrec_batch_size",
            "Histories that were answered together.",
            buckets=_SIZES,
            registry=registry,
        )
        self.waiting = Gauge(
            "bigrec_waiting",
            "Histories that wait for an answer.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.swaps = Counter(
            "bigrec_swaps", "Swaps of a bundle by their result.", ["result"], registry=registry
        )
        self.load_failures = Counter(
            "bigrec_load_failures", "Bundles that could not be loaded.", registry=registry
        )
        self.changes = Counter(
            "bigrec_item_changes", "Requests that changed items.", ["verb"], registry=registry
        )
        self.interactions = Counter(
            "bigrec_interactions", "Interactions that were added.", registry=registry
        )

    def observe(self, answers: Sequence[object]) -> None:
        """Count recommended lists; other answers are ignored."""
        for answer in answers:
            if not isinstance(answer, Recommendations):
                continue
            self.answers.labels(answer.source).inc()
            distances = sorted(item.distance for item in answer if item.distance is not None)
            if len(distances) > 1:
                self.margin.observe(distances[1] - distances[0])
            for first in answer[:1]:
                if first.generated_text is not None:
                    self.generated.labels(str(first.generated_text == first.title).lower()).inc()
