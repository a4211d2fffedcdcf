"""Build llama.cpp's binaries once, by CMake and Ninja, for CPU or CUDA.

A build is keyed by everything that decides its bytes (source, definitions, compiler,
and for a native build the CPU's instruction set) and appears in the cache only when
it is complete. An interrupted build is resumable.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import msgspec

from llamatrix import shell
from llamatrix.config.cell import EngineCell
from llamatrix.config.matrix import Backend
from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.host import cpu_features
from llamatrix.nvml import gpus
from llamatrix.progress import meter, say
from llamatrix.provision.compiler import (
    compile_environment,
    compiler_id,
    cuda_cmake_definitions,
    cxx,
    find_tool,
    nvcc,
    require_compiler,
    require_toolkit,
)
from llamatrix.provision.hardware import require_device, require_instructions
from llamatrix.provision.integrity import (
    ensure_free,
    file_sha256,
    find_damage,
    make_once,
)
from llamatrix.provision.local_pins import programs_of, provide_tree, shared_tree
from llamatrix.provision.nix import driver_folders, stale, stored_build, with_driver
from llamatrix.provision.pin_source import require_known_flags
from llamatrix.provision.source import NOTE, provide_source
from llamatrix.units import duration_text

RECIPE_VERSION = 2
"""2: small files of a kind are compiled together, by `merge.cmake`."""
MERGE = Path(__file__).with_name("merge.cmake")
PREBUILT = "prebuilt"
"""Stands for the compiler of programs that were not built here."""
TARGETS = ("llama-bench", "llama-server", "llama-fit-params")
BATCHED_BENCH = "llama-batched-bench"
"""Compiled for whoever measures with it: no part of a build's key."""
_DEFINITIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_CCACHE": "OFF",  # the launcher below does it, the same way for every pin
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_OPENSSL": "OFF",  # the server never downloads anything
    "LLAMA_BUILD_WEBUI": "OFF",  # no web page, and no network for it, in any pin:
    "LLAMA_BUILD_UI": "OFF",  # newer pins ask a hub for a prebuilt one
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_APP": "OFF",
}
_FORK_DEFINITIONS = {"LLAMA_BUILD_EXAMPLES": "ON", "LLAMA_BUILD_SERVER": "ON"}
"""ik_llama.cpp keeps its programs among the examples, and counts commits by git."""
_CONFIGURE_TIMEOUT_S = 600
_BUILD_TIMEOUT_S = 6 * 3600
_BESIDE_TIMEOUT_S = 60
_NEED_BYTES = {Backend.CPU: 2**30, Backend.CUDA: 8 * 2**30}


class CompileError(ProvisionError):
    """The compiler refused verified source."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a build; `build.json` beside its binaries, and in records."""

    key: str
    commit: str
    build_number: int
    backend: str
    compiler: str
    cmake: dict[str, str]
    recipe: int = 1
    """The RECIPE_VERSION; 1 also where none was recorded."""
    apart: bool = False
    """Whether every file was compiled for itself: merged ones did not compile."""
    source_note: str = ""
    """A remark about the source tree; empty for one verified here."""
    store_path: str = ""
    """Its path in the Nix store; empty for a build compiled here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A finished build, or a folder of prebuilt programs."""

    folder: Path
    manifest: Manifest
    prebuilt: dict[str, Path] = field(default_factory=dict)
    """The programs of a pin by binaries."""

    def program(self, name: str) -> Path:
        """Return a program's path; ProvisionError if the build was changed since."""
        if self.prebuilt or not self._has(name):
            if path := self.prebuilt.get(name):
                return path
            raise ProvisionError(f"{self.folder}: this llama.cpp has no {name}")
        if not self.manifest.store_path and (wrong := find_damage(self.folder)):
            raise ProvisionError(f"{wrong}; run the command again to build it again")
        return self.folder / "bin" / name

    def _has(self, name: str) -> bool:
        optional = {"llama-fit-params", BATCHED_BENCH}
        return name not in optional or (self.folder / "bin" / name).exists()


def manifest_of(cell: EngineCell) -> Manifest:
    """Return what the build of a cell consists of on this machine."""
    definitions = {**_DEFINITIONS, **_backend_definitions(cell), **cell.build.cmake}
    if cell.locked.fork:
        definitions |= _FORK_DEFINITIONS
    else:
        definitions["LLAMA_BUILD_NUMBER"] = str(cell.pin.build_number)
        definitions["LLAMA_BUILD_COMMIT"] = cell.locked.commit[:9]
    compiler = compiler_id(cell.build.backend)
    native = definitions.get("GGML_NATIVE", "ON") == "ON"
    facts = (
        RECIPE_VERSION,
        file_sha256(MERGE),
        TARGETS,
        cell.locked.nar_hash,
        sorted(definitions.items()),
        compiler,
        cpu_features() if native else "",
    )
    return Manifest(
        key=hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:16],
        commit=cell.locked.commit,
        build_number=cell.pin.build_number,
        backend=cell.build.backend,
        compiler=compiler,
        cmake=definitions,
        recipe=RECIPE_VERSION,
    )


def compiled_by(cell: EngineCell) -> str:
    """Name the compiler of a cell's binaries, which is part of every record's key."""
    if cell.pin.binaries:
        return PREBUILT
    stored = stored_build(cell.pin_key, cell.build_key)
    return f"nix {stored.name}" if stored else compiler_id(cell.build.backend)


def provide_build(
    cell: EngineCell,
    cache: Path,
    *,
    program: str = "",
    meanwhile: Callable[[], None] | None = None,
) -> Built:
    """Return the binaries of a cell's pin and build; compile them if missing.

    `program` is what the caller needs of it. For llama-bench that is two thirds of the
    work; its object files stay, and a later call for all programs compiles only the
    rest. llama-batched-bench is compiled only here, in a folder with llama-bench.
    `meanwhile` is done beside the compiler, in a thread, where something is compiled.
    """
    if cell.pin.binaries:
        return _prebuilt(cell)
    if stored := stored_build(cell.pin_key, cell.build_key):
        return _from_store(cell, stored, cache)
    manifest = manifest_of(cell)
    name = f"{cell.pin_key}-{cell.build_key}-{manifest.key}"
    entry = cache / "builds" / name
    whole = entry
    targets = _targets(manifest)
    if program == BATCHED_BENCH:
        if cell.locked.fork:
            raise ProvisionError(
                f"{cell.pin_key}: {BATCHED_BENCH} of {cell.locked.fork} has other flags; "
                "leave `batched` out of the sweep"
            )
        entry = entry.with_name(f"{name}-batched")
        targets = (targets[0], BATCHED_BENCH)
    elif program == targets[0] and not entry.exists():
        entry, targets = entry.with_name(f"{name}-bench"), targets[:1]

    def make(staging: Path) -> None:
        _require_cuda(cell, manifest)
        require_compiler(cell.build.backend)
        require_instructions(cell.build_key, cell.build)
        need_bytes = _NEED_BYTES[cell.build.backend]
        ensure_free(cache, need_bytes=need_bytes, purpose=f"building {name}")
        label = f"{cell.pin_key}/{cell.build_key}"
        if cell.pin.path:
            with provide_tree(cell.locked, cell.pin, cache) as tree, _beside(meanwhile):
                work = cache / "work" / f"{tree.name}-{cell.build_key}"
                made = _compile(label, manifest, targets, tree, work, cache)
                _install(work, made, targets, staging)
            return
        source = provide_source(cell.locked, cache, git=cell.pin.git)
        require_known_flags(cell, cache / "sources")
        note = source / NOTE
        text = note.read_text().strip() if note.exists() else ""
        noted = msgspec.structs.replace(manifest, source_note=text)
        if cell.pin.git:
            with shared_tree(source, cell.pin.git, cache) as tree, _beside(meanwhile):
                work = cache / "work" / f"{tree.name}-{cell.build_key}"
                made = _compile(label, noted, targets, tree, work, cache)
                _install(work, made, targets, staging)
            return
        work = cache / "work" / manifest.key
        with _beside(meanwhile), _alone_in(work):
            made = _compile(label, noted, targets, source, work, cache)
            _install(work, made, targets, staging)
            if whole.exists() or entry == whole:
                shutil.rmtree(work, ignore_errors=True)

    make_once(entry, make, purpose=f"building {name}", prove=lambda: _adopt(entry))
    require_known_flags(cell, cache / "sources")
    made = msgspec.json.decode((entry / "build.json").read_bytes(), type=Manifest)
    return Built(folder=entry, manifest=made)


def _alone_in(work: Path) -> AbstractContextManager[None]:
    """Keep others out of a folder of objects, which several entries are made from."""
    lock = work.parent.with_name("builds") / f".{work.name}.lock"
    return exclusive(lock, purpose=f"compiling in {work.name}")


@contextmanager
def _beside(work: Callable[[], None] | None) -> Iterator[None]:
    """Do work in a thread while the block runs, and wait for its end.

    Not for long: what hangs must not keep a measurement waiting.
    """
    if work is None:
        yield
        return
    thread = Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(_BESIDE_TIMEOUT_S)


def bytes_to_build(cell: EngineCell, cache: Path) -> int:
    """Return the disk that compiling a cell's build takes; 0 where it is there."""
    if cell.pin.binaries or stored_build(cell.pin_key, cell.build_key):
        return 0
    name = f"{cell.pin_key}-{cell.build_key}-{manifest_of(cell).key}"
    made = (cache / "builds" / name).exists()
    return 0 if made else _NEED_BYTES[cell.build.backend]


def build_damage(entry: Path) -> str | None:
    """Return what is wrong with a finished build in the cache; None if intact."""
    return find_damage(entry, prove=lambda: _adopt(entry))


def _adopt(entry: Path) -> None:
    """Accept a build of an older version, whose digests nobody recorded."""
    say(
        f"build {entry.name}: older than recorded digests; its present files are recorded"
    )


def _require_cuda(cell: EngineCell, manifest: Manifest) -> None:
    """Require the card, if it decides the target, then the parts of the toolkit."""
    if cell.build.backend is not Backend.CUDA:
        return
    if not cell.build.cuda_capabilities:
        require_device(cell.build_key, cell.build)
    require_compiler(Backend.CUDA)
    if compiler := nvcc():
        require_toolkit(compiler, manifest.cmake["CMAKE_CUDA_ARCHITECTURES"])


def _from_store(cell: EngineCell, path: Path, cache: Path) -> Built:
    """Return what Nix built, if it matches the present matrix and lock."""
    try:
        made = msgspec.json.decode((path / "build.json").read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise stale(path, f"has no readable build.json: {error}") from error
    manifest = manifest_of(cell)
    for key in ("commit", "build_number", "backend", "cmake", "recipe"):
        if getattr(made, key) != getattr(manifest, key):
            raise stale(
                path,
                f"was built with {key} {getattr(made, key)!r}, but matrix and lock "
                f"ask {getattr(manifest, key)!r}",
            )
    folder = path
    if cell.build.backend is Backend.CUDA:
        folder = with_driver(path, cache, driver_folders())
    return Built(
        folder=folder,
        manifest=msgspec.structs.replace(made, store_path=str(path)),
    )


def _backend_definitions(cell: EngineCell) -> dict[str, str]:
    if cell.build.backend is Backend.CPU:
        return {"GGML_CUDA": "OFF"}
    named = cell.build.cuda_capabilities
    here = {f"{gpu.compute_capability}-real" for gpu in gpus()}
    numbers = [text.replace(".", "") for text in named or sorted(here)]
    return {
        "GGML_CUDA": "ON",
        "CMAKE_CUDA_ARCHITECTURES": ";".join(numbers) or "native",
    }


def _compile(
    label: str,
    manifest: Manifest,
    targets: Sequence[str],
    source: Path,
    work: Path,
    cache: Path,
) -> Manifest:
    """Configure and compile; return the manifest of how. Ninja resumes after a stop.

    Where merged files do not compile (in some commit two may have a function of one
    name), every file is compiled for itself: a failure is then of that file alone.
    """
    log = cache / "logs" / f"build-{manifest.key}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    programs = ", ".join(targets)
    say(f"building {programs} of {label} with {manifest.compiler} (log: {log})")
    begin = time.monotonic()
    ended, merged_failed = _configure_and_compile(
        label, manifest, targets, source, work, log
    )
    if merged_failed:
        say(f"building {label}: merged files do not compile; each for itself")
        manifest = msgspec.structs.replace(manifest, apart=True)
        ended, _ = _configure_and_compile(label, manifest, targets, source, work, log)
    if not ended.ok:
        raise CompileError(f"building {label} failed\n{ended.complaint()}")
    say(f"built {label} in {duration_text(time.monotonic() - begin)}")
    return manifest


def _configure_and_compile(
    label: str,
    manifest: Manifest,
    targets: Sequence[str],
    source: Path,
    work: Path,
    log: Path,
) -> tuple[shell.Ended, bool]:
    """Return how Ninja ended, and whether a merged file was what failed."""
    # of an earlier commit or edit: its defaults must not hold for this one
    (work / "CMakeCache.txt").unlink(missing_ok=True)
    ended = shell.run(
        _cmake_argv(manifest, source, work),
        timeout_s=_CONFIGURE_TIMEOUT_S,
        env=compile_environment(),
        log=log,
    )
    if not ended.ok:
        raise CompileError(f"configuring {label} failed\n{ended.complaint()}")
    # Ninja's own default is two more: on two cores that took 6 % longer (2026-11-30)
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    ninja = [str(_tool("ninja")), "-C", str(work), jobs, *targets]
    merged_failed = False
    with meter(f"build {label}", total=1) as progress:

        def show(_: shell.Channel, line: str) -> None:
            nonlocal merged_failed
            if match := re.match(r"\[(\d+)/(\d+)\]", line):
                progress.total = int(match[2])
                progress.reach(int(match[1]))
            merged_failed |= line.startswith("FAILED: ") and "/Unity/unity_" in line

        ended = shell.run(
            ninja,
            timeout_s=_BUILD_TIMEOUT_S,
            env=compile_environment(),
            log=log,
            on_line=show,
        )
    return ended, merged_failed


def _targets(manifest: Manifest) -> tuple[str, ...]:
    """Return the programs to build; the fork has no llama-fit-params."""
    fork = "LLAMA_BUILD_NUMBER" not in manifest.cmake
    return TARGETS[:2] if fork else TARGETS


def _prebuilt(cell: EngineCell) -> Built:
    manifest = Manifest(
        key=cell.locked.commit[:16],
        commit=cell.locked.commit,
        build_number=cell.pin.build_number,
        backend=cell.build.backend,
        compiler=PREBUILT,
        cmake={},
    )
    programs = programs_of(cell.pin.binaries)
    folder = programs["llama-bench"].parent
    return Built(folder=folder, manifest=manifest, prebuilt=programs)


def _cmake_argv(manifest: Manifest, source: Path, work: Path) -> list[str]:
    definitions = dict(manifest.cmake)
    definitions["CMAKE_MAKE_PROGRAM"] = str(_tool("ninja"))
    definitions["CMAKE_CXX_COMPILER"] = str(cxx())
    definitions.setdefault("CMAKE_PROJECT_INCLUDE", str(MERGE))
    if manifest.apart:
        definitions["LLAMATRIX_MERGE"] = "OFF"
    if manifest.backend == Backend.CUDA:
        definitions["CMAKE_CUDA_COMPILER"] = str(nvcc())
        definitions |= cuda_cmake_definitions(nvcc())
    if ccache := shutil.which("ccache"):
        for language in ("C", "CXX", "CUDA"):
            definitions[f"CMAKE_{language}_COMPILER_LAUNCHER"] = ccache
    flags = [f"-D{key}={value}" for key, value in sorted(definitions.items())]
    return [str(_tool("cmake")), "-S", str(source), "-B", str(work), "-GNinja", *flags]


def _install(
    work: Path, manifest: Manifest, targets: Sequence[str], staging: Path
) -> None:
    """Copy the programs; the build tree of a working tree stays for the next edit."""
    (staging / "bin").mkdir()
    for target in targets:
        shutil.copy2(work / "bin" / target, staging / "bin" / target)
    (staging / "build.json").write_bytes(msgspec.json.encode(manifest))
    for file in [*(staging / "bin").iterdir(), staging / "build.json"]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _tool(name: str) -> Path:
    path = find_tool(name)
    if path is None:
        raise ProvisionError(
            f"{name} not found beside this Python or on the PATH; "
            f"`pip install {name}` brings it (the README's set-up does)"
        )
    return path
