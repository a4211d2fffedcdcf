"""`invoke certificate`: what reproduces, written so that anybody can check it."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llamatrix.commands.flags import DEFAULT_SET, CertificateFlags
from llamatrix.commands.report_view import (
    chosen_view,
    load_view,
    project_with,
    published_set,
)
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.errors import BenchError, ProvisionError, ReportError
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.integrity import recheck_cache
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.reference_set import find_set
from llamatrix.reference.verdict import ComparisonVerdict
from llamatrix.report.bundle import pack, unpack
from llamatrix.report.certificate import (
    Certificate,
    Evidence,
    certificate_bytes,
    certificate_page,
    certify,
    objections,
    read_certificate,
    verdict_count,
)
from llamatrix.report.inputs import Published


class NotProvenError(BenchError):
    """A certificate says what its records do not: exit code 1."""


def certificate(flags: CertificateFlags) -> str:
    """Write a certificate, or verify the one named; return what to print."""
    if flags.verify:
        return _verify_file(Path(flags.verify), flags)
    return _certify(flags.against or DEFAULT_SET, flags)


def _certify(against: str, flags: CertificateFlags) -> str:
    """Write the JSON and its page beside the records; return what they say in a line.

    With `--bundle`, also pack them with all that they follow from into that archive.

    ReportError where nothing is comparable: there would be nothing to certify. Every
    provisioned file is read first: with records of this machine, a damaged cache
    certifies nothing.
    """
    view = load_view(flags.records)
    if not flags.records:
        _require_intact(view.project)
    published = published_set(against, view.project, view.matrix)
    chosen = chosen_view(view, flags.profile, flags.host)
    evidence = Evidence(
        index=view.index,
        groups=chosen.groups,
        trial_groups=chosen.trials,
    )
    certificate = certify(published, evidence, load_gpus())
    if not verdict_count(certificate, ComparisonVerdict.REPRODUCED) + verdict_count(
        certificate, ComparisonVerdict.DIFFERS
    ):
        reasons = dict.fromkeys(group.summary for group in certificate.groups)
        raise ReportError(
            f"{against}: nothing to certify, nothing is written: {' | '.join(reasons)}"
        )
    path = _write(certificate, published, view.project)
    say(f"written: {_shown(path, view.project)} and the page beside it")
    if flags.bundle:
        set_file = find_set(against, view.project.published)
        _write_bundle(
            Path(flags.bundle), certificate, published, view.project, set_file
        )
    return f"{path.stem}: {_summary(certificate)}\n"


def _require_intact(project: Project) -> None:
    if damages := recheck_cache(project.cache).damages:
        lines = "\n".join(f"  {damage}" for damage in damages)
        raise ProvisionError(
            f"{project.cache}: not what was put there; nothing is certified\n{lines}\n"
            "`invoke build` and `invoke weights` make it again; what the records were "
            "measured with is not known"
        )


def _verify_file(path: Path, flags: CertificateFlags) -> str:
    """Recompute a certificate from the records; NotProvenError where it differs.

    `--against` is the path of a reference set that is outside the project.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix == ".tar":
        return _verify_bundle(content, path.name)
    return _verify(content, path, project_with(flags.records), flags.against)


def _verify(content: bytes, path: Path, project: Project, against: str = "") -> str:
    matrix = load_matrix(project.matrix_file)
    try:
        certificate = read_certificate(content, where=path.name)
        published = published_set(against or certificate.set, project, matrix)
    except ReportError as error:
        raise NotProvenError(f"{path.name}: not proven: {error}") from error
    problems = objections(content, certificate, published, project.reports, load_gpus())
    if problems:
        lines = [f"{path.name}: not proven", *(f"  {line}" for line in problems)]
        raise NotProvenError("\n".join(lines))
    return (
        f"{path.name}: proven by {len(certificate.records)} records: "
        f"{_summary(certificate)}\n"
    )


_PAGE_FOR = "BUNDLE.tar"
"""The name of the archive on the page inside it, whatever name it has outside."""


def _write_bundle(
    path: Path,
    certificate: Certificate,
    published: Published,
    project: Project,
    set_file: Path,
) -> None:
    if moved := list(_other_pins(certificate, project)):
        raise ReportError(
            "\n".join((f"{path}: not written", *(f"  {line}" for line in moved)))
            + "\nbundle with the matrix.lock of the measurement, or measure again"
        )
    page = certificate_page(certificate, published, to_verify=_PAGE_FOR)
    name = f"reports/certificates/{certificate.set}-{certificate.host}"
    try:
        content = pack(
            {
                "matrix.toml": project.matrix_file.read_bytes(),
                "matrix.lock": project.lock_file.read_bytes(),
                f"reports/published/{certificate.set}.toml": set_file.read_bytes(),
                f"{name}.json": certificate_bytes(certificate),
                f"{name}.md": page.encode(),
                **{
                    f"reports/{file}": (project.reports / file).read_bytes()
                    for file in {proof.file for proof in certificate.records.values()}
                },
            }
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ReportError(f"{path}: not written: {error}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    say(f"written: {path}, {len(content)} bytes, sha256 {sha256}")


def _verify_bundle(content: bytes, where: str) -> str:
    """Recompute a bundle from what it holds; NotProvenError names what differs."""
    try:
        files = unpack(content, where=where)
    except ReportError as error:
        raise NotProvenError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="llamatrix-bundle-") as folder:
        root = Path(folder)
        for name, member in files.items():
            path = root / name
            if not path.resolve().is_relative_to(root.resolve()):
                raise NotProvenError(f"{where}: {name} lies outside the archive")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(member)
        project = Project(root=root, cache=root / "cache")
        certificates = sorted(root.glob("reports/certificates/*.json"))
        if len(certificates) != 1:
            raise NotProvenError(
                f"{where}: {len(certificates)} certificates, expected 1"
            )
        (path,) = certificates
        proven = _verify(path.read_bytes(), path, project)
        if problems := list(_unproven(path, project)):
            lines = [f"{where}: not proven", *(f"  {line}" for line in problems)]
            raise NotProvenError("\n".join(lines))
    return f"{where}: {proven}"


def _unproven(path: Path, project: Project) -> Iterator[str]:
    """Yield what of page and lock does not follow from a proven certificate."""
    certificate = read_certificate(path.read_bytes(), where=path.name)
    published = published_set(
        certificate.set, project, load_matrix(project.matrix_file)
    )
    page = path.with_suffix(".md")
    again = certificate_page(certificate, published, to_verify=_PAGE_FOR)
    if not page.exists() or page.read_bytes() != again.encode():
        yield f"{page.name}: not the page of the certificate"
    yield from _other_pins(certificate, project)


def _other_pins(certificate: Certificate, project: Project) -> Iterator[str]:
    pins = load_lock(project.lock_file).pins
    for name, measured in certificate.pins.items():
        locked = pins[name].commit if name in pins else "absent"
        if locked != measured.commit:
            yield (
                f"matrix.lock: pin {name} is {locked[:9]}, measured was "
                f"{measured.commit[:9]}"
            )


def _write(certificate: Certificate, published: Published, project: Project) -> Path:
    folder = project.reports / "certificates"
    path = folder / f"{certificate.set}-{certificate.host}.json"
    name = _shown(path, project)
    if project.other_reports:
        name += f" --records {_shown(project.other_reports, project)}"
    page = certificate_page(certificate, published, to_verify=name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(certificate_bytes(certificate))
        path.with_suffix(".md").write_text(page)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _shown(path: Path, project: Project) -> str:
    """Return the path relative to the checkout if it is inside, else its name."""
    if path.is_relative_to(project.root):
        return path.relative_to(project.root).as_posix()
    return path.name


def _summary(certificate: Certificate) -> str:
    numbers = (
        (verdict_count(certificate, verdict), verdict) for verdict in ComparisonVerdict
    )
    return ", ".join(f"{number} {verdict}" for number, verdict in numbers)
