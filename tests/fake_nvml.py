"""Fresh copies of the fake NVIDIA library, with the cards of one test."""

import importlib.util
from types import ModuleType
from typing import Any

from tests.shipped import FAKES


def fake_nvml(
    *cards: dict[str, Any], without: str = "", **changes: object
) -> ModuleType:
    """Return a library with these cards, or with a changed H200 that lacks `without`."""
    spec = importlib.util.spec_from_file_location("pynvml", FAKES / "pynvml.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    listed = cards or ({**module.H200, **changes},)
    vars(module)["CARDS"] = [
        {key: value for key, value in card.items() if key not in without.split()}
        for card in listed
    ]
    return module


def without_cards() -> ModuleType:
    module = fake_nvml()
    vars(module)["CARDS"] = []
    return module


def without_driver(code: int | None = None) -> ModuleType:
    """Return a library that fails to open with this error number."""
    module = fake_nvml()
    vars(module)["INIT_FAILS"] = code or True
    return module
