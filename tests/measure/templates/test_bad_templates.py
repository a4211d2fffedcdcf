"""Broken templates: each fails the case of its defect, and none ends the suite."""

import pytest

from llamatrix.measure.templates.checks import CaseResult
from llamatrix.measure.templates.conversation import Conversation, system, user
from llamatrix.measure.templates.generic import Generic
from llamatrix.measure.templates.qwen35 import Qwen35
from llamatrix.measure.templates.render import JinjaRenderer, RenderError
from llamatrix.measure.templates.suite import family_of, rendered

PLAIN = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}
{%- if enable_thinking is false %}{{- '\\n</think>\\n\\n' }}{%- endif %}
"""
LOOPS = """\
{%- set seen = namespace(user=-1) %}
{%- for said in messages %}
{%- if said.role == 'user' %}{%- set seen.user = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for said in messages %}
{{- '<|im_start|>' + said.role + '\\n' }}
{%- if said.reasoning_content and loop.index0 > seen.user %}
{{- '<think>\\n' + said.reasoning_content | trim + '\\n</think>\\n\\n' }}
{%- elif said.role == 'assistant' and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{{- said.content }}
{%- for call in said.tool_calls or [] %}
{{- '\\n' if not loop.first else '\\n\\n' if said.content else '' }}
{{- '<tool_call>\\n<function=' + call.function.name + '>\\n' }}
{%- for key, value in call.function.arguments.items() %}
{{- '<parameter=' + key + '>\\n' + (value if value is string else value | tojson) }}
{{- '\\n</parameter>\\n' }}
{%- endfor %}
{{- '</function>\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n<think>\\n' }}
{%- if enable_thinking is false %}{{- '\\n</think>\\n\\n' }}{%- endif %}
"""
TALK = Conversation(messages=(system("Be brief."), user("Hello.")))


def results(template: str) -> dict[str, CaseResult]:
    found = rendered(Qwen35(), [JinjaRenderer(template)])
    return {case.id: case for case in found}


def test_plain_template_passes_the_cases_it_supports() -> None:
    found = results(PLAIN)
    assert found["prompt-thinking-on"].passed
    assert found["plain"].passed
    assert not found["calls-in-parallel"].passed


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (PLAIN + "{% if %}", "TemplateSyntaxError"),
        (
            PLAIN.replace("message.content", "message.content | shout"),
            "No filter named",
        ),
        ("{{ raise_exception('no system role') }}", "no system role"),
        (PLAIN.replace("message.role", "message.role.name"), "UndefinedError"),
        (PLAIN.replace("message.content", "1"), "TypeError"),
    ],
)
def test_template_that_cannot_render_fails_with_its_reason(
    template: str, told: str
) -> None:
    case = results(template)["prompt-thinking-on"]
    assert not case.passed
    assert case.essential
    assert case.reason.startswith("jinja2: ")
    assert told in case.reason


def test_template_that_raises_on_a_role_fails_only_its_cases() -> None:
    guard = (
        "{%- for message in messages %}{%- if message.role == 'system' and not loop.first"
        " %}{{- raise_exception('late') }}{%- endif %}{%- endfor %}"
    )
    found = results(guard + PLAIN)
    assert found["prompt-thinking-on"].passed
    assert "late" in found["system-late"].reason


def test_generation_prompt_that_never_ends_its_thought_is_reported() -> None:
    endless = PLAIN.replace("\\n</think>\\n\\n", "")
    found = results(endless)
    assert found["prompt-thinking-on"].passed
    assert not found["prompt-thinking-off"].passed
    assert "ends with" in found["prompt-thinking-off"].reason


def test_template_that_forgets_the_generation_prompt_is_reported() -> None:
    found = results(PLAIN.replace("add_generation_prompt", "false"))
    assert not found["prompt-thinking-on"].passed


def test_template_that_drops_thoughts_inside_a_loop_is_not_prefix_stable() -> None:
    assert "diverges after" in results(PLAIN)["loop-thinking"].reason


def test_history_changed_by_a_later_user_message_is_reported() -> None:
    found = results(PLAIN)
    assert found["tool-turn-without-thought"].passed
    assert "diverges after" in found["answer-not-thinking"].reason
    fickle = PLAIN.replace(
        "+ message.content", "+ ('' if loop.last else '.') + message.content"
    )
    assert "diverges after" in results(fickle)["tool-turn-without-thought"].reason


def test_template_that_keeps_the_current_loop_is_prefix_stable() -> None:
    found = results(LOOPS)
    for case in ("loop-thinking", "loop-not-thinking", "loop-with-text", "loop-long"):
        assert found[case].passed, found[case].reason
    assert found["loop-in-parallel"].passed
    assert found["loop-after-a-user-message"].passed
    assert found["answer-not-thinking"].passed


def test_answer_rendered_differently_later_is_reported() -> None:
    loud = LOOPS.replace("said.content }}", "said.content | upper }}")
    assert "diverges after" in results(loud)["answer-not-thinking"].reason


def test_template_that_loses_a_text_is_reported() -> None:
    lossy = PLAIN.replace("message.content", "message.content | replace('1', '')")
    assert results(PLAIN)["user-text-like-a-result"].passed
    assert "not in the prompt" in results(lossy)["user-text-like-a-result"].reason


CHATML = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}{{- call.function | tojson }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' }}
"""


def generic_failures(template: str) -> dict[str, str]:
    """Return the essential cases that a template of no known family fails."""
    family = family_of(template)
    assert isinstance(family, Generic)
    found = rendered(family, [JinjaRenderer(template)])
    return {case.id: case.reason for case in found if case.essential and case.reason}


def test_template_of_an_unknown_family_passes_the_generic_cases() -> None:
    assert generic_failures(CHATML) == {}


@pytest.mark.parametrize(
    ("kept", "changed", "case", "reason"),
    [
        ("if tools", "if false", "prompt-in-a-loop", "read_file is not declared"),
        (
            "call.function |",
            "call.function.name |",
            "arguments-as-text",
            "lacks 'path'",
        ),
        ("+ message.content", "", "prompt-thinking-on", "message 0: no 'You are"),
        (
            "call.function | tojson",
            "call.function | tojson | tojson",
            "arguments-nested-unicode",
            "a call of write_todo lacks",
        ),
    ],
)
def test_template_of_an_unknown_family_that_loses_text_fails(
    kept: str, changed: str, case: str, reason: str
) -> None:
    assert reason in generic_failures(CHATML.replace(kept, changed))[case]


def test_json_in_a_prompt_is_not_escaped_for_web_pages() -> None:
    renderer = JinjaRenderer("{{ messages[0].content | tojson }}")
    said = Conversation(messages=(user("<a> & 'π'"),))
    assert renderer.render(said) == "\"<a> & 'π'\""


def test_template_blocks_leave_no_blank_lines_or_indentation() -> None:
    text = "{% if true %}\n  {% if true %}\nx\n  {% endif %}\n{% endif %}\n"
    assert JinjaRenderer(text).render(TALK) == "x\n"


def test_template_can_use_the_date() -> None:
    assert JinjaRenderer("{{ strftime_now('%Y') }}").render(TALK).isdigit()


def test_unsafe_template_is_refused() -> None:
    with pytest.raises(RenderError, match="SecurityError"):
        JinjaRenderer("{{ ''.__class__.__mro__ }}").render(TALK)
