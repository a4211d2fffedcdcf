"""`invoke template-check`: every template proven by conversations, on a real server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from llamatrix.commands.flags import TemplateFlags
from llamatrix.commands.launching import cell_to_serve, launch_of, template_source
from llamatrix.config.context import Context, load_context
from llamatrix.config.expand import select_profile
from llamatrix.errors import BenchError, MeasureError
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template, family_of, template_text
from llamatrix.progress import say
from llamatrix.provision.templates import (
    VENDOR_FOLDER,
    load_correction,
    provide_template,
)
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table
from llamatrix.units import json_text

_PINS = ("april", "current")


class TemplateError(BenchError):
    """A template fails a case that agents cannot work without: exit code 1."""


def template_check(flags: TemplateFlags) -> None:
    """Print what the suite finds; TemplateError where an essential case fails."""
    found = _found(flags)
    print(as_json(found) if flags.json else as_text(found))
    require_essentials(found)


def _found(flags: TemplateFlags) -> tuple[Conformance, ...]:
    """What a model is served with, or a file, or every template at every tried pin.

    A template file is served with the weights of the model, which is named by key or by
    path, else with any of its family.
    """
    context = load_context(flags.profile, model=flags.model)
    if flags.template:
        path = Path(flags.template)
        if not path.is_file():
            raise MeasureError(f"--template {path}: no such file")
        text = template_text(path)
        key = "" if flags.model else _model_for(text, context)
        return (_checked(context, key, flags.pin, path.name, path),)
    if flags.model:
        return (_checked(context, "", flags.pin),)
    return tuple(
        _checked(context, key, pin, name, path)
        for key, name, path in _known(context)
        for pin in ([flags.pin] if flags.pin else _PINS)
    )


def _checked(
    context: Context, model: str, pin: str, name: str = "", path: Path | None = None
) -> Conformance:
    """Try a file, else what the model is served with, on the model's weights."""
    cell = cell_to_serve(context, model=model, pin=pin)
    launch = launch_of(cell, context)
    if path is None:
        name = f"in {launch.weights.name}"
        if launch.template:
            name = f"ours: {launch.model.chat_template_file}"
    elif path != launch.template:
        launch = replace(launch, template=path, template_pin=None)
    say(f"checking {name} at {cell.pin_key}")
    stem = launch.template.stem if launch.template else launch.weights.stem
    log = context.project.logs / f"template-check-{stem}-{cell.pin_key}.log"
    return check_template(launch, name=name, pin=cell.pin_key, log=log)


def _model_for(text: str, context: Context) -> str:
    """Return the first model of the family that a template belongs to."""
    family = family_of(text).name
    models = select_profile(context.matrix, context.profile).models
    return next((key for key in models if key.startswith(family)), models[0])


def _known(context: Context) -> Iterator[tuple[str, str, Path]]:
    """Each vendor's text once, with the corrections of ours over it."""
    seen: set[str] = set()
    corrections = sorted((context.project.root / "templates").glob("*.toml"))
    for key in select_profile(context.matrix, context.profile).models:
        template = context.matrix.models[key].template
        if not template or template in seen:
            continue
        seen.add(template)
        tree = template_source(context)
        yield key, f"vendor: {template}", tree / VENDOR_FOLDER / template
        for file in corrections:
            correction = load_correction(file)
            if correction.file == template:
                path = provide_template(correction, tree, context.project.cache)
                yield key, f"ours: {file.stem}.jinja", path


def as_text(results: tuple[Conformance, ...]) -> str:
    return "\n".join(
        markdown(_table(result)) + "\n" + _verdict(result) for result in results
    )


def as_json(results: tuple[Conformance, ...]) -> str:
    """One object where one template was checked, else a list of them."""
    document: object = results[0] if len(results) == 1 else results
    return json_text(document)


def require_essentials(results: tuple[Conformance, ...]) -> None:
    """TemplateError where what was asked for fails an essential case.

    Of many templates only ours are judged: the vendors' stand there for comparison.
    """
    alone = len(results) == 1
    judged = [
        result for result in results if alone or result.template.startswith("ours")
    ]
    failed = [
        f"{result.template} at {result.pin}"
        for result in judged
        if not result.essentials_passed
    ]
    if failed:
        raise TemplateError(f"essential cases fail: {', '.join(failed)}")


def _table(result: Conformance) -> Table:
    return Table(
        caption=f"{result.template} at {result.pin} ({result.template_sha256[:12]})",
        columns=("Case", "Essential", "Passed", "Bug", "Reason"),
        rows=tuple(
            (
                case.id,
                "yes" if case.essential else "",
                "yes" if case.passed else "NO",
                case.bug,
                case.reason[:120],
            )
            for case in result.cases
        ),
    )


def _verdict(result: Conformance) -> str:
    essential = [case for case in result.cases if case.essential]
    failed = [case.id for case in essential if not case.passed]
    words = f"fails {', '.join(failed)}" if failed else "all pass"
    return f"{len(essential)} essential cases of {len(result.cases)}: {words}\n"
