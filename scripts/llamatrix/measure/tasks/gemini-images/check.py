"""Prompt 2: images with the google-genai SDK, and real tests of the script."""

import re

from llamatrix.measure.judging.check import (
    Answer,
    Evidence,
    answer,
    context7_called,
    dependencies_declared,
    failed,
    no_mocks,
    not_applicable,
    passed,
    tests_ask,
    tests_pass,
)
from llamatrix.measure.judging.images import distinct_images
from llamatrix.measure.judging.keys import hard_coded_keys
from llamatrix.measure.judging.uv_run import asked

MODEL = re.compile(r"(?:models/)?((?:gemini|imagen)-[\w.-]*\d[\w.-]*)")


def hits_real_api(evidence: Evidence) -> Answer:
    return tests_ask(evidence, "google.genai")


def accepted_model(evidence: Evidence) -> Answer:
    """By what the tests asked the service for; else by the names in the scripts."""
    accepted = {model.name for model in evidence.task.models}
    used = set()
    if evidence.counts_requests and evidence.test_files:
        for request in asked(evidence.tests.ran.requests, evidence.task.service):
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
    wanted = int(evidence.task.expect["images"])
    found = distinct_images(evidence.folder / "images")
    if len(found) >= wanted:
        return passed(f"{len(found)} different valid images.")
    return failed(f"It holds {len(found)} different valid images, not {wanted}.")


def no_key(evidence: Evidence) -> Answer:
    if not evidence.sources:
        return not_applicable("There is no code to look at.")
    secrets = evidence.case.ground.secrets
    found = hard_coded_keys(evidence.folder, evidence.sources, secrets)
    if found:
        return failed(f"A key is written out in {'; '.join(found)}.")
    return passed("No key found.")


answer(
    {
        "tests-pass": tests_pass,
        "hits-real-api": hits_real_api,
        "no-mocks": no_mocks,
        "context7-called": context7_called,
        "accepted-model": accepted_model,
        "five-images": five_images,
        "no-key": no_key,
        "dependencies-declared": dependencies_declared,
    }
)
