"""`invoke compare`: our records against a published set, number by number."""

from collections.abc import Sequence

from msgspec import Struct

from llamatrix.commands.compare_selftest import (
    broken_promises,
    family_scores,
    family_table,
    line_scores,
    line_table,
)
from llamatrix.commands.flags import CompareFlags
from llamatrix.commands.report_view import chosen_view, load_view, published_set
from llamatrix.config.expand import select_profile
from llamatrix.config.load import load_matrix
from llamatrix.errors import BenchError, ReportError
from llamatrix.host import this_host
from llamatrix.measure.stream import measure_bandwidth
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.roofline import NoRoofline, Roofline
from llamatrix.reference.verdict import (
    Comparison,
    ComparisonVerdict,
    significant_after_holm,
)
from llamatrix.report.inputs import Published, read_bandwidth, write_bandwidth
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.render.markdown import markdown
from llamatrix.report.set_comparison import (
    ComparisonResult,
    SetComparison,
    compare_group,
    compare_trial_group,
    our_roofline_table,
    set_comparison_text,
)
from llamatrix.report.view import View
from llamatrix.report.views.endpoints import NOT_COMPARABLE
from llamatrix.units import json_text


class DiffersError(BenchError):
    """Something comparable differs, or a promise of --selftest is broken: exit 1."""


class GroupDocument(Struct, frozen=True, kw_only=True):
    held: ComparisonResult
    rooflines: tuple[Roofline | NoRoofline, ...]


class CompareDocument(Struct, frozen=True, kw_only=True):
    schema_version: int = 2
    set: str
    groups: tuple[GroupDocument, ...]
    differing: tuple[str, ...]
    """Claims that differ after the correction for all: what the exit code is of."""


_Limits = tuple[Roofline | NoRoofline, ...]


def compare(flags: CompareFlags) -> None:
    """Print the comparison; DiffersError where numbers differ."""
    if flags.selftest:
        selftest(flags.against)
        return
    if flags.bandwidth:
        measure_this_bandwidth()
    view = load_view(flags.records)
    endpoints = _endpoints_text(view, flags.profile)
    has_models = not flags.profile or view.matrix.profiles[flags.profile].models
    if endpoints and not has_models and not flags.json:
        print(endpoints, end="")
        return
    published = published_set(flags.against, view.project, view.matrix)
    gpus = load_gpus()
    chosen = chosen_view(view, flags.profile, flags.host)
    reports = view.project.reports
    compared: list[tuple[SetComparison, _Limits]] = [
        (
            compare_group(published, group, view.index, gpus),
            our_rooflines(group, gpus, read_bandwidth(reports, group.host_slug)),
        )
        for group in chosen.groups
    ]
    compared += [
        (compare_trial_group(published, group, view.index, gpus), ())
        for group in chosen.trials
    ]
    comparisons = [
        comparison for group, _ in compared for comparison in group.result.comparisons
    ]
    tested = sum(comparison.p_value is not None for comparison in comparisons)
    differing = significant_after_holm(comparisons)
    if flags.json:
        print(_json(published, compared, differing))
    else:
        called = sum(
            comparison.verdict is ComparisonVerdict.DIFFERS
            for comparison in comparisons
        )
        family = _family_text(called, tested, len(differing)) if called else ""
        print(_text(published, compared) + family + endpoints, end="")
    if differing:
        raise DiffersError(
            f"{flags.against}: {len(differing)} of {tested} comparable numbers differ, "
            "after the correction for their number"
        )


def _endpoints_text(view: View, profile: str) -> str:
    """Why no number of the profile's endpoints is compared; empty without any."""
    measured = {record.cell.endpoint for record in view.endpoints}
    if profile:
        measured &= set(select_profile(view.matrix, profile).endpoints)
    return "".join(f"\nendpoint {key}: {NOT_COMPARABLE}\n" for key in sorted(measured))


def _family_text(called: int, tested: int, differing: int) -> str:
    """What the exit code is of, where that is not plain."""
    return (
        f"\n{called} of {tested} tested numbers differ, each taken by itself; after "
        f"Holm's correction for all {tested} it is {differing}. The exit code is 1 "
        "for those alone: a faithful reproduction gets it in 5 % of all cases at most.\n"
    )


def selftest(against: str) -> None:
    """Print how often faithful reproductions differ; exit 1 where a promise is broken."""
    project = find_project()
    published = published_set(against, project, load_matrix(project.matrix_file))
    by_quantity = {
        claim.quantity: claim for claim in published.claims if not claim.proxy_for
    }
    missing = {Quantity.GENERATED_TOKENS, Quantity.API_CALLS} - by_quantity.keys()
    if missing:
        raise ReportError(
            f"{against}: has no {' and no '.join(sorted(missing))}; --selftest needs a "
            "set with an agent's trials, such as blog-2026-04-05"
        )
    lines = list(line_scores(by_quantity))
    print(markdown(line_table(lines)))
    families = list(family_scores(published.claims))
    print(markdown(family_table(families, published.name)))
    broken = list(broken_promises(lines, families))
    if broken:
        raise DiffersError("\n".join([f"promises broken: {len(broken)}", *broken]))
    print(
        "promises kept: at most 5 % of faithful numbers differ, at most 5 % exit with 1"
    )


def measure_this_bandwidth() -> None:
    """Run the stream test here and keep it beside this host's records."""
    project = find_project()
    with measuring():
        bandwidth = measure_bandwidth(this_host())
    path = write_bandwidth(project.reports, bandwidth)
    say(
        f"{bandwidth.best / 1e9:.1f} GB/s by {bandwidth.threads} threads, kept in {path}"
    )


def _text(
    published: Published,
    compared: Sequence[tuple[SetComparison, _Limits]],
) -> str:
    parts = [f"# Against {published.name}\n\n{published.heading}\n"]
    for comparison, limits in compared:
        parts.append(set_comparison_text(comparison))
        if limits:
            parts.append(markdown(our_roofline_table(limits)))
    return "\n".join(parts)


def _json(
    published: Published,
    compared: Sequence[tuple[SetComparison, _Limits]],
    differing: Sequence[Comparison],
) -> str:
    document = CompareDocument(
        set=published.name,
        groups=tuple(
            GroupDocument(held=comparison.result, rooflines=limits)
            for comparison, limits in compared
        ),
        differing=tuple(comparison.claim for comparison in differing),
    )
    return json_text(document)
