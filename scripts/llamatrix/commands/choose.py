"""`invoke choose`: which model for a card, from predictions, records and published sets."""

from llamatrix.commands.fit import card_of
from llamatrix.commands.flags import ChooseFlags
from llamatrix.commands.report_view import load_view
from llamatrix.host import this_host
from llamatrix.report.render.markdown import markdown
from llamatrix.report.views.choose import (
    RULE,
    Amount,
    Choice,
    Choices,
    Question,
    choice_tables,
    choices,
    question_of_records,
)
from llamatrix.units import json_text


def choose(flags: ChooseFlags) -> str:
    """Rank the models of the matrix; needs no GPU, no network and no records."""
    view = load_view(flags.records)
    card_bytes, card = card_of(flags.vram)
    here = this_host().slug
    if flags.records:
        here = question_of_records(view.groups, view.trials, view.contexts).here
    found = choices(
        Question(
            card_bytes=card_bytes,
            card=card,
            context_tokens=flags.context,
            here=here,
        ),
        models={key: model.name for key, model in view.matrix.models.items()},
        groups=view.groups,
        trials=view.trials,
        contexts=view.contexts,
        sets=view.sets,
    )
    if flags.json:
        return json_text([_document(found, choice) for choice in found.ranked]) + "\n"
    shown = (table.plain() for table in choice_tables(found) if table.rows)
    tables = "\n".join(map(markdown, shown))
    return f"{tables}\n{RULE}\n"


def _document(found: Choices, choice: Choice) -> dict[str, object]:
    correct = choice.correct
    return {
        "model": choice.key,
        "name": choice.name,
        "fits": found.fits(choice),
        "refused": choice.refused,
        "generation_tps": _amount(choice.speed),
        "correct": correct
        and {
            **(_amount(correct.amount) or {}),
            "passed": correct.passes.passed,
            "trials": correct.passes.trials,
            "mean_turn": correct.mean_turn,
        },
        "joules_per_token": _amount(choice.joules),
        "largest_context_tokens": _amount(choice.context),
    }


def _amount(amount: Amount | None) -> dict[str, object] | None:
    if amount is None:
        return None
    return {
        "value": amount.value,
        "interval_95": amount.interval,
        "grade": amount.source.grade.words,
        "source": amount.source.text,
        "of": amount.of,
    }
