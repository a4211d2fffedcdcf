"""llama-server's counters, against which the sums of single calls are checked.

Its two speed gauges are averages since the start at one pin and since the last
scrape at another (facts of both pins, 2026-11): they are never read.
"""

from dataclasses import dataclass

from llamatrix.errors import ServeError

_PREFIX = "llamacpp:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """What a server has done since its start, or between two readings."""

    prompt_tokens: float
    """Processed; tokens taken from the cache are not in it."""
    prompt_s: float
    generated_tokens: float
    generation_s: float
    cached_tokens: float | None
    """Taken from the cache; None at pins that do not count them."""

    def since(self, earlier: "Counters") -> "Counters":
        found = Counters(
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            prompt_s=self.prompt_s - earlier.prompt_s,
            generated_tokens=self.generated_tokens - earlier.generated_tokens,
            generation_s=self.generation_s - earlier.generation_s,
            cached_tokens=None
            if self.cached_tokens is None or earlier.cached_tokens is None
            else self.cached_tokens - earlier.cached_tokens,
        )
        if found.prompt_tokens < 0 or found.generated_tokens < 0:
            raise ServeError(
                "llama-server's counters ran backwards: it was started anew between "
                "two readings, or they were taken in the wrong order"
            )
        return found


def parse_metrics(text: str) -> Counters:
    """Read `/metrics` in Prometheus' text format."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    except ValueError as error:
        raise ServeError(
            f"/metrics: not in Prometheus' text format: {error}"
        ) from error

    def counter(name: str) -> float:
        try:
            return float(values[_PREFIX + name])
        except KeyError:
            raise ServeError(
                f"/metrics: no counter {_PREFIX}{name}; this llama.cpp counts otherwise"
            ) from None

    cached = values.get(f"{_PREFIX}prompt_tokens_cached_total")
    return Counters(
        prompt_tokens=counter("prompt_tokens_total"),
        prompt_s=counter("prompt_seconds_total"),
        generated_tokens=counter("tokens_predicted_total"),
        generation_s=counter("tokens_predicted_seconds_total"),
        cached_tokens=None if cached is None else float(cached),
    )
