"""The scoreboard of the self-test: designs, true losses, and how often each is right."""

from collections.abc import Sequence

from llamatrix.report.tables import Table
from llamatrix.stats.simulation import Noise, Rate, Score


def noise_text(noise: Noise, where: str) -> str:
    return (
        f"Simulated with noise of {noise.between_sd:.2%} between and "
        f"{noise.within_sd:.2%} within processes ({where})"
    )


def scoreboard_table(scores: Sequence[Score], *, title: str) -> Table:
    runs = scores[0].runs if scores else 0
    return Table(
        title=f"{title}, {runs} runs each",
        header=(
            *("Design", "True loss", "SLOWER", "FASTER", "SAME", "INCONCLUSIVE"),
            *("False alarms", "Coverage", "given a claim", "Processes per arm"),
        ),
        rows=tuple(_row(one) for one in scores),
        right=(1, 2, 3, 4, 5, 6, 7, 8, 9),
    )


def _row(one: Score) -> tuple[str, ...]:
    shares = (one.slower, one.faster, one.same, one.inconclusive)
    return (
        str(one.design),
        f"{one.true_loss:.0%}",
        *(f"{share:.1%}" for share in shares),
        "–" if one.false_alarms is None else f"{one.false_alarms:.1%}",
        "–" if one.coverage is None else f"{one.coverage:.1%}",
        rate_text(one.claimed_coverage),
        f"{one.mean_per_arm:.1f}",
    )


def rate_text(rate: Rate | None) -> str:
    """Write `95.2 ± 0.2 %`: a share and its standard error."""
    if rate is None:
        return "–"
    return f"{100 * rate.share:.1f} ± {100 * rate.standard_error:.1f} %"


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"
