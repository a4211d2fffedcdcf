"""`invoke audit`: a reference set held against itself and against physics."""

from llamatrix.commands.flags import AuditFlags
from llamatrix.config.load import load_matrix
from llamatrix.project import find_project
from llamatrix.reference.audit import audit_report
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.reference_set import find_set, load_set
from llamatrix.reference.roofline import rooflines
from llamatrix.report.render.markdown import markdown
from llamatrix.report.set_comparison import published_roofline_table


def audit(flags: AuditFlags) -> str:
    """The findings, then the share of its GPU that each speed would have reached."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    gpus = load_gpus()
    path = find_set(flags.set, project.published)
    whole = load_set(path, models=matrix.models)
    report = audit_report(path.stem, whole, gpus)
    if flags.json:
        return report.json
    table = published_roofline_table(rooflines(whole, gpus), whole.claims())
    return f"{report.text}\n{markdown(table)}" if table.rows else report.text
