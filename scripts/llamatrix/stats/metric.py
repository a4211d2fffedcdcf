"""What is compared: its unit, which way is better, which change matters."""

from enum import StrEnum


class Unit(StrEnum):
    """The units a sample may have; more tokens per second or less time is better."""

    TOKENS_PER_S = "tok/s"
    SECONDS = "s"
    MILLISECONDS = "ms"

    @property
    def higher_is_better(self) -> bool:
        return self is Unit.TOKENS_PER_S

    @property
    def margin(self) -> float:
        """The margin where only the unit is known: a time is taken for a TTFT."""
        metric = Metric.GENERATION if self.higher_is_better else Metric.FIRST_TOKEN
        return metric.margin


class Metric(StrEnum):
    GENERATION = "tg"
    PROMPT = "pp"
    FIRST_TOKEN = "ttft"  # noqa: S105  (time to first token, not a secret)
    """By the server's own count: the processing of the prompt."""

    @property
    def unit(self) -> Unit:
        return Unit.SECONDS if self is Metric.FIRST_TOKEN else Unit.TOKENS_PER_S

    @property
    def margin(self) -> float:
        """The loss of speed that matters, as a fraction: delta of the rule."""
        return _MARGINS[self]


_MARGINS = {Metric.GENERATION: 0.02, Metric.PROMPT: 0.02, Metric.FIRST_TOKEN: 0.05}
