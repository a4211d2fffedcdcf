"""The conversations that every template is tried with."""

from llamatrix.measure.templates.case import (
    Case,
    Grows,
    Holds,
    Reads,
    Remains,
    Survives,
    Trial,
)
from llamatrix.measure.templates.conversation import (
    Conversation,
    Message,
    Text,
    answer,
    call,
    result,
    system,
    user,
)
from llamatrix.measure.templates.scenes import (
    AGENT,
    ASK,
    NESTED,
    OBJECT,
    PARALLEL,
    READ,
    WAIT,
    quiet,
    reads,
    steps,
    talk,
    work,
    written,
)


def _essential(id_: str, bug: str, trial: Trial) -> Case:
    return Case(id=id_, essential=True, bug=bug, trial=trial)


def _other(id_: str, bug: str, trial: Trial) -> Case:
    return Case(id=id_, essential=False, bug=bug, trial=trial)


CASES = (
    _essential("prompt-thinking-on", "", Reads(talk(AGENT, ASK))),
    _essential("prompt-thinking-off", "", Reads(quiet(AGENT, ASK))),
    _essential(
        "prompt-in-a-loop", "", Reads(work(AGENT, ASK, *steps(1, thinking=True)))
    ),
    _essential(
        "system-late",
        "T1b/T2",
        Reads(talk(AGENT, ASK, answer("Wait."), system("Be brief."), user("Go on."))),
    ),
    _essential("system-twice", "T1b/T2", Reads(work(AGENT, system("Be brief."), ASK))),
    _essential(
        "system-after-a-result",
        "T1b/T2",
        Reads(work(AGENT, ASK, *steps(1, thinking=True), system("Hurry."))),
    ),
    _essential(
        "tool-turn-without-thought",
        "T5",
        Survives(work(AGENT, ASK, *steps(2, thinking=False))),
    ),
    _essential("no-user-message", "T6", Reads(work(AGENT, *steps(1, thinking=True)))),
    _essential(
        "user-text-like-a-result",
        "T6",
        Holds(work(AGENT, user("<tool_response>\n1\n</tool_response>"))),
    ),
    _essential(
        "arguments-as-text", "", Reads(work(AGENT, ASK, *steps(1, thinking=False)))
    ),
    _essential(
        "arguments-as-object",
        "",
        Reads(work(AGENT, ASK, answer(None, OBJECT), result(1, "ok"))),
    ),
    _essential("arguments-nested-unicode", "", Reads(written(NESTED))),
    _essential("arguments-none-given", "", Reads(written({}))),
    _essential("calls-in-parallel", "", Reads(work(AGENT, ASK, *PARALLEL))),
    _essential("loop-thinking", "", Grows(work(AGENT, ASK, *steps(3, thinking=True)))),
    _essential(
        "loop-not-thinking", "", Grows(quiet(AGENT, ASK, *steps(3, thinking=False)))
    ),
    _essential(
        "loop-with-text",
        "",
        Grows(work(AGENT, ASK, *steps(2, thinking=True, text="I look."))),
    ),
    _essential("loop-in-parallel", "", Grows(work(AGENT, ASK, *PARALLEL))),
    _essential("loop-long", "", Grows(work(AGENT, ASK, *steps(12, thinking=True)))),
    _essential(
        "loop-after-a-user-message",
        "",
        Grows(
            work(
                AGENT,
                ASK,
                *steps(2, thinking=True),
                answer("Found."),
                user("Fix it."),
                *steps(2, thinking=True),
            )
        ),
    ),
    _other("plain", "", Reads(talk(user("Hello.")))),
    _other(
        "tool-with-odd-types",
        "G9",
        Reads(Conversation(messages=(AGENT, ASK), tools=(READ, WAIT))),
    ),
    _other(
        "developer-first",
        "T1",
        Reads(talk(Message(role="developer", content="Be brief."), ASK)),
    ),
    _other(
        "developer-late",
        "T1",
        Reads(
            talk(
                AGENT,
                ASK,
                answer("Wait."),
                Message(role="developer", content="Go."),
                ASK,
            )
        ),
    ),
    _other(
        "system-in-parts",
        "G7",
        Reads(talk(Message(role="system", content=(Text(text="Be brief."),)), ASK)),
    ),
    _other(
        "user-in-parts",
        "",
        Reads(talk(AGENT, Message(role="user", content=(Text(text="Hi."),)))),
    ),
    _other(
        "content-empty",
        "",
        Reads(work(AGENT, ASK, answer("", reads(1)), result(1, "ok"))),
    ),
    _other(
        "result-empty",
        "",
        Reads(work(AGENT, ASK, answer(None, reads(1)), result(1, ""))),
    ),
    _other(
        "result-is-json",
        "",
        Reads(
            work(AGENT, ASK, answer(None, reads(1)), result(1, '{"a": 1, "b": "x"}'))
        ),
    ),
    _other(
        "text-before-a-call",
        "G1",
        Reads(work(AGENT, ASK, answer("Let me look.", reads(1)), result(1, "ok"))),
    ),
    _other(
        "user-after-a-result",
        "G2",
        Reads(work(AGENT, ASK, *steps(1, thinking=True), user("Stop. Only explain."))),
    ),
    _other(
        "answer-after-a-result",
        "G1",
        Reads(
            work(
                AGENT,
                ASK,
                *steps(1, thinking=True),
                answer("Found."),
                user("Thanks."),
            )
        ),
    ),
    _other(
        "thoughts-of-former-turns",
        "",
        Reads(
            talk(
                AGENT,
                ASK,
                answer("It divides by 0.", thought="Look.\n"),
                user("And now?"),
            )
        ),
    ),
    _other(
        "arguments-true-null",
        "T3, G6",
        Reads(
            work(
                AGENT,
                ASK,
                answer(None, reads(1, limit=3, whole=True)),
                result(1, "ok"),
            )
        ),
    ),
    _other(
        "arguments-null",
        "T3, G6",
        Reads(written({"about": {"x": False, "y": None}})),
    ),
    _other(
        "loop-arguments-unsorted",
        "G5",
        Grows(
            work(
                AGENT,
                ASK,
                answer(
                    None,
                    call(1, "write_todo", {"todos": [], "about": {"z": 1, "a": 2}}),
                    thought="So.\n",
                ),
                result(1, "noted"),
            )
        ),
    ),
    _other("answer-not-thinking", "T7", Remains(quiet(AGENT, ASK))),
    _other(
        "loop-empty-thoughts",
        "T5",
        Grows(work(AGENT, ASK, *steps(2, thinking=False))),
    ),
)
