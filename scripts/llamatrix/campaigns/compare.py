"""`invoke compare`: our records against a published set, number by number."""

import msgspec
from msgspec import Struct

from llamatrix.campaigns.report_view import (
    View,
    chosen_groups,
    load_view,
    published_set,
)
from llamatrix.errors import BenchError
from llamatrix.exclusive import exclusive
from llamatrix.host import this_host
from llamatrix.measure.stream import measure_bandwidth
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.report.bandwidth_file import read_bandwidth, write_bandwidth
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.published import Published
from llamatrix.report.reference.comparison import Verdict
from llamatrix.report.reference.gpu import load_gpus
from llamatrix.report.reference.roofline import NoRoofline, Roofline
from llamatrix.report.speed import Group
from llamatrix.report.versus import Held, Versus, trials_versus, versus
from llamatrix.report.versus_tables import our_roofline_table, versus_text


class DiffersError(BenchError):
    """Something that is comparable differs: exit code 1."""


class HeldGroup(Struct, frozen=True, kw_only=True):
    held: Held
    rooflines: tuple[Roofline | NoRoofline, ...]


class CompareDocument(Struct, frozen=True, kw_only=True):
    """The document of `--json`."""

    schema_version: int = 1
    set: str
    groups: tuple[HeldGroup, ...]


def compare(
    against: str, *, profile: str = "", host: str = "", as_json: bool = False
) -> tuple[str, int]:
    """What to print, and how many comparable numbers differ."""
    view = load_view()
    published = published_set(against, view.project, view.matrix)
    gpus = load_gpus()
    chosen = chosen_groups(view, profile, host)
    found = [
        (versus(published, group, view.evidence, gpus), _rooflines(group, view))
        for group in chosen.groups
    ]
    found += [
        (trials_versus(published, group, view.trial_evidence, gpus), ())
        for group in chosen.trials
    ]
    differing = sum(one.held.count(Verdict.DIFFERS) for one, _ in found)
    if as_json:
        return _json(published, found), differing
    return _text(published, found), differing


def require_agreement(against: str, differing: int) -> None:
    if differing:
        raise DiffersError(f"{against}: {differing} comparable numbers differ")


def measure_this_bandwidth() -> None:
    """Run the stream test here and keep it beside this host's records."""
    project = find_project()
    with exclusive(project.cache / "measuring.lock", purpose="measuring"):
        found = measure_bandwidth(this_host())
    path = write_bandwidth(project.reports, found)
    say(f"{found.best / 1e9:.1f} GB/s by {found.threads} threads, kept in {path}")


def _rooflines(group: Group, view: View) -> tuple[Roofline | NoRoofline, ...]:
    bandwidth = read_bandwidth(view.project.reports, group.host_slug)
    return our_rooflines(group, load_gpus(), bandwidth)


def _text(
    published: Published,
    found: list[tuple[Versus, tuple[Roofline | NoRoofline, ...]]],
) -> str:
    parts = [f"# Against {published.name}\n\n{published.heading}\n"]
    for one, limits in found:
        parts.append(versus_text(one))
        if limits:
            parts.append(our_roofline_table(limits).markdown())
    return "\n".join(parts)


def _json(
    published: Published,
    found: list[tuple[Versus, tuple[Roofline | NoRoofline, ...]]],
) -> str:
    document = CompareDocument(
        set=published.name,
        groups=tuple(
            HeldGroup(held=one.held, rooflines=limits) for one, limits in found
        ),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
