"""`invoke template-check`: every template proven by conversations, on a real server."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llamatrix.commands.flags import TemplateFlags
from llamatrix.commands.launching import cell_to_serve, launch_of, template_source
from llamatrix.config.context import Context, load_context
from llamatrix.config.expand import select_profile
from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.templates import (
    VENDOR_FOLDER,
    load_correction,
    provide_template,
)
from llamatrix.errors import BenchError, MeasureError
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template, family_of
from llamatrix.progress import say
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
    model, pin = flags.model, flags.pin
    bench = _Bench(context=load_context(flags.profile, model=model))
    if flags.template:
        path = Path(flags.template)
        if not path.is_file():
            raise MeasureError(f"--template {path}: no such file")
        key = "" if model else bench.model_for(path)
        return (bench.check(key, pin, path.name, path),)
    if model:
        return (bench.check_served(pin),)
    return tuple(
        bench.check(key, one_pin, name, path)
        for key, name, path in bench.known()
        for one_pin in ([pin] if pin else _PINS)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    """Where templates are tried: the weights of a profile's models."""

    context: Context

    def check(self, model: str, pin: str, name: str, path: Path) -> Conformance:
        cell = cell_to_serve(self.context, model=model, pin=pin)
        launch = launch_of(cell, self.context)
        if path != launch.template:
            launch = replace(launch, template=path, template_pin=None)
        return self._check(launch, name, cell.pin_key)

    def check_served(self, pin: str) -> Conformance:
        cell = cell_to_serve(self.context, pin=pin)
        launch = launch_of(cell, self.context)
        name = f"in {launch.weights.name}"
        if launch.template:
            name = f"ours: {launch.model.chat_template_file}"
        return self._check(launch, name, cell.pin_key)

    def _check(self, launch: Launch, name: str, pin: str) -> Conformance:
        say(f"checking {name} at {pin}")
        stem = launch.template.stem if launch.template else launch.weights.stem
        log = self.context.project.logs / f"template-check-{stem}-{pin}.log"
        return check_template(launch, name=name, pin=pin, log=log)

    def model_for(self, path: Path) -> str:
        """Return the first model of the family that the file's text belongs to."""
        family = family_of(path.read_text()).name
        models = select_profile(self.context.matrix, self.context.profile).models
        return next((key for key in models if key.startswith(family)), models[0])

    def known(self) -> Iterator[tuple[str, str, Path]]:
        """Each vendor's text once, with the corrections of ours over it."""
        seen: set[str] = set()
        corrections = sorted((self.context.project.root / "templates").glob("*.toml"))
        for key in select_profile(self.context.matrix, self.context.profile).models:
            model = self.context.matrix.models[key]
            if not model.template or model.template in seen:
                continue
            seen.add(model.template)
            yield (key, *self._vendor(model.template))
            for file in corrections:
                correction = load_correction(file)
                if correction.file == model.template:
                    path = provide_template(
                        correction,
                        template_source(self.context),
                        self.context.project.cache,
                    )
                    yield key, f"ours: {file.stem}.jinja", path

    def _vendor(self, template: str) -> tuple[str, Path]:
        return f"vendor: {template}", template_source(
            self.context
        ) / VENDOR_FOLDER / template


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
