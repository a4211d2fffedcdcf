"""Prompt 2: images with the google-genai SDK, and real tests of the script."""

import json
import re

from llamatrix.sandbox.sandboxed_parser import ParserFailedError
from llamatrix.trials.checks.check import (
    Answer,
    answer,
    context7_called,
    dependencies_declared,
    failed,
    limited_memory,
    no_mocks,
    not_applicable,
    passed,
    shadowing,
    tests_ask,
    tests_can_fail,
    tests_pass,
)
from llamatrix.trials.checks.evidence import Case, Evidence, Plan
from llamatrix.trials.checks.images import (
    DecodedImage,
    decode_images,
    distinct,
    read_folder,
)
from llamatrix.trials.checks.keys import hard_coded_keys
from llamatrix.trials.stubs.request_log import GivenKey, Request
from llamatrix.trials.stubs.world import World

MODEL = re.compile(r"(?:models/)?((?:gemini|imagen)-[\w.-]*\d[\w.-]*)")
FOLDER = "images"


def plan(case: Case) -> Plan:
    return Plan(
        script={World.REAL: ""},
        suite=(World.REAL, World.FAILING),
        keyless=True,
        folder=FOLDER,
        files=int(case.task.expect["images"]),
        arguments=case.task.arguments,
    )


def hits_real_api(evidence: Evidence) -> Answer:
    if module := shadowing(evidence):
        return failed(f"{module} replaces the package of that name.")
    return tests_ask(evidence, "google.genai")


def accepted_model(evidence: Evidence) -> Answer:
    """Decide by the requests of script and tests, else by the names in scripts."""
    accepted = {model.name for model in evidence.task.models}
    suite = evidence.suite(World.REAL) if evidence.test_files else None
    ran = evidence.script_run(World.REAL) if evidence.scripts else None
    used = set()
    for each in (ran, suite.ran if suite else None):
        for request in evidence.answered(each) if each else ():
            used.add(request.path.rpartition("/")[2].partition(":")[0])
    if not used:
        texts = (text for each in evidence.scripts for text in each.strings)
        used = {found[1] for text in texts if (found := MODEL.fullmatch(text))}
        used = used & accepted or used
    if not used:
        return failed("No model is named.")
    if used <= accepted:
        return passed(f"Uses {', '.join(sorted(used))}.")
    return failed(
        f"Uses {', '.join(sorted(used - accepted))} instead of "
        f"{evidence.task.models[0].name} or its image variant."
    )


def five_images(evidence: Evidence) -> Answer:
    wanted = evidence.plan.files
    if not evidence.scripts:
        return failed("There is no script.")
    ran = evidence.script_run(World.REAL)
    groups = {
        "left": read_folder(evidence.folder / FOLDER),
        "made": ran.files if ran else {},
    }
    try:
        found = decode_images(groups, evidence.case.execution)
    except ParserFailedError as error:
        return failed(f"The images in {FOLDER} cannot be read: {error}.")
    left, made = distinct(found["left"]), found["made"]
    if len(left) < wanted:
        return failed(f"The folder holds {len(left)} different valid images, not {wanted}.")
    agents = evidence.agents_requests
    if agents is not None and (strange := [i for i in left if not match(i, agents)]):
        return failed(f"{len(strange)} images were not made by the API.")
    if not evidence.counts_requests:
        return passed(f"{len(left)} different valid images.")
    if ran is None:
        return failed("The script killed the program that runs it.")
    requests = evidence.answered(ran)
    prompts = json.loads((evidence.task.seed / "prompts.json").read_text())
    missing = [each for each in prompts if not drawn(each, made, requests)]
    if missing:
        return failed(
            f"With the folder removed and the script run again, {len(missing)} of "
            f"{len(prompts)} prompts have no image that the API made for them, such as "
            f"{missing[0]!r}. {ran.trouble}"
        )
    return passed(f"{len(left)} different valid images, and the script makes them.")


def match(image: DecodedImage, requests: tuple[Request, ...]) -> Request | None:
    """Return the request that this image was served for."""
    for each in requests:
        if each.served.picture and image.is_like(bytes.fromhex(each.served.picture)):
            return each
    return None


def drawn(
    prompt: str, made: tuple[DecodedImage, ...], requests: tuple[Request, ...]
) -> bool:
    """Whether one of the images was served for this prompt."""
    wanted = " ".join(prompt.split())
    served = (match(image, requests) for image in made)
    return any(each and wanted in " ".join(each.served.prompt.split()) for each in served)


def no_key(evidence: Evidence) -> Answer:
    if not evidence.sources:
        return not_applicable("There is no code to look at.")
    secrets = evidence.case.execution.secrets
    with limited_memory():  # it computes what constants make
        found = [*hard_coded_keys(evidence.folder, evidence.every_source, secrets)]
    for ran in evidence.every_run:
        given = {request.served.key for request in ran.requests}
        if given & {GivenKey.FOREIGN, GivenKey.UNKNOWN}:
            found.append(f"a request of `{ran.command}`")
        elif ran.program.without and GivenKey.RIGHT in given:
            found.append(f"a request of `{ran.command}`, run without the variable")
    if found:
        return failed(f"A key is hard-coded in {'; '.join(found)}.")
    return passed("No key found.")


answer(
    {
        "tests-pass": tests_pass,
        "hits-real-api": hits_real_api,
        "tests-can-fail": tests_can_fail,
        "no-mocks": no_mocks,
        "context7-called": context7_called,
        "accepted-model": accepted_model,
        "five-images": five_images,
        "no-key": no_key,
        "dependencies-declared": dependencies_declared,
    },
    plan,
)
