"""A build that this processor could not run is refused before it is begun."""

import platform
from pathlib import Path

import msgspec
import pytest

from llamatrix import host
from llamatrix.config.cell import Cell
from llamatrix.errors import ProvisionError
from llamatrix.provision.build import provide_build
from llamatrix.provision.instructions import missing_instructions, require_instructions


@pytest.fixture
def old_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An x86 of 2011: AVX, and nothing of what came with AVX2."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: An old CPU\nflags\t\t: fpu sse4_2 avx f16c\n")
    monkeypatch.setattr(host, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("old_processor")
def test_missing_instructions_are_named_by_their_definitions(
    cells: tuple[Cell, ...],
) -> None:
    found = missing_instructions(cells[0].build)
    assert found == ("GGML_AVX2", "GGML_BMI2", "GGML_FMA")


@pytest.mark.usefixtures("old_processor")
def test_the_line_to_change_is_named(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(ProvisionError, match=r"builds\.cpu\.cmake: asks for") as caught:
        require_instructions("cpu", cells[0].build)
    assert 'GGML_AVX2 = "OFF"' in str(caught.value)


@pytest.mark.usefixtures("old_processor")
def test_nothing_is_fetched_or_compiled_for_it(
    cells: tuple[Cell, ...], tmp_path: Path
) -> None:
    with pytest.raises(ProvisionError, match="does not have"):
        provide_build(cells[0], tmp_path / "cache")
    assert not (tmp_path / "cache" / "sdists").exists()
    assert not (tmp_path / "cache" / "work").exists()


@pytest.mark.usefixtures("old_processor")
def test_what_is_turned_off_is_not_asked_for(cells: tuple[Cell, ...]) -> None:
    names = ("GGML_AVX2", "GGML_BMI2", "GGML_FMA")
    build = msgspec.structs.replace(cells[0].build, cmake=dict.fromkeys(names, "OFF"))
    require_instructions("cpu", build)


@pytest.mark.usefixtures("old_processor")
def test_other_processors_pass_over_the_names(
    cells: tuple[Cell, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    require_instructions("cpu", cells[0].build)
