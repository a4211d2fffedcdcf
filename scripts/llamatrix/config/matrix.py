"""The types of `matrix.toml`: everything a user may write, and nothing else.

Keys of llama.cpp's programs carry their flag's own name with underscores, so that
`--ctx-size` is `ctx_size`; sizes count tokens.
"""

import ast
import itertools
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

Key = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""A name of ours: lower case, digits and hyphens; it becomes part of cell ids."""
Glob = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(gt=0, le=2**31 - 1)]
"""llama.cpp reads its numbers into 32 bits."""
Count = Annotated[int, Meta(gt=0, le=10_000)]
"""Of processes, repetitions, trials and turns."""
Seconds = Annotated[int, Meta(gt=0, le=30 * 86_400)]
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Commit = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$")]
Capability = Annotated[str, Meta(pattern=r"^\d+\.\d$")]
Probability = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(ge=0, le=1e6)]
Override = Annotated[str, Meta(pattern=r"^[^=,;]+=[^=,;]+$")]
"""`ffn_.*_exps=CPU`: tensors whose names match are kept in that kind of buffer."""
NarHash = Annotated[str, Meta(pattern=r"^sha256-[A-Za-z0-9+/]{43}=$")]
"""An SRI hash of a tree's NAR serialisation, as Nix' fetchers take it."""
NpmName = Annotated[str, Meta(pattern=r"^(@[a-z0-9-]+/)?[a-z0-9][a-z0-9._-]*$")]
ExactVersion = Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$")]
SystemName = Annotated[str, Meta(pattern=r"^[a-z0-9_]+-linux$")]
"""Nix' name of a platform: `x86_64-linux`."""


NO_DRAFT = "none"
"""The name of decoding without drafts, in sweeps and ids."""
WITH_SYNTHETIC_HEAD = ("qwen35-27b", "qwen35-35b-a3b")
"""Models whose synthetic weights can have a head for multi-token prediction."""
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Backend(StrEnum):
    CPU = "cpu"
    CUDA = "cuda"


class WeightsKind(StrEnum):
    """Where a profile's weights come from."""

    HUB = "hub"
    """The published GGUF, from its repository."""
    FULL = "full"
    """Synthetic, at the published size: speed only."""
    TINY = "tiny"
    """Synthetic, a few MB: proves the pipeline on a CPU."""
    LOCAL = "local"
    """A GGUF file of the user's; its models have no other weights."""
    PACKAGE = "package"
    """The GGUF inside a Python package; its models have no other weights either."""

    @property
    def synthetic(self) -> bool:
        return self in {WeightsKind.FULL, WeightsKind.TINY}

    @property
    def label(self) -> str:
        """What tables and plans call it."""
        return {
            WeightsKind.HUB: "published",
            WeightsKind.FULL: "synthetic (full size)",
            WeightsKind.TINY: "synthetic (tiny)",
            WeightsKind.LOCAL: "local",
            WeightsKind.PACKAGE: "published (package)",
        }[self]

    def shown_name(self, model: str) -> str:
        """The name of a model in every table: what is synthetic says so."""
        return f"{model} (synthetic)" if self.synthetic else model


class Measurement(StrEnum):
    SPEED = "speed"
    """llama-bench."""
    SERVE_SPEED = "serve-speed"
    """Requests to llama-server, one at a time, with and without drafts."""
    AGENT = "agent"


class AgentKind(StrEnum):
    """A coding agent: its key in an agent setup, and the table with its versions."""

    OPENCODE = "opencode"
    PI = "pi"


class Network(StrEnum):
    """What an agent's sandbox can reach."""

    HERMETIC = "hermetic"
    """Nothing but the sandbox's own loopback, with what the harness serves there."""
    ONLINE = "online"
    """The network of this machine."""


class PinKind(StrEnum):
    """Where a pin's llama.cpp comes from."""

    PACKAGE = "package"
    """A source package that carries the git objects."""
    GIT = "git"
    """A commit of any repository that git fetches."""
    PATH = "path"
    """A working tree, as it is when it is built."""
    BINARIES = "binaries"
    """A folder with llama-bench and llama-server."""


class Pin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One llama.cpp, from one of four places: package, git, path or binaries."""

    package: str = ""
    """Name of a source package that carries llama.cpp's git objects."""
    version: str = ""
    """Of the package: an exact one."""
    commit: Annotated[str, Meta(pattern=r"^([0-9a-f]{40})?$")] = ""
    """Of a package: any commit that is complete in it."""
    git: str = ""
    """Any URL or path that git fetches."""
    rev: str = ""
    """A branch, a tag, a ref or a full commit of the repository."""
    path: str = ""
    """A working tree; relative to the folder of matrix.toml."""
    binaries: str = ""
    """A folder of prebuilt programs; relative to the folder of matrix.toml."""
    build_number: Natural = 0
    """llama.cpp's own count of commits; 0 where no public source has it."""
    about: str = ""

    @property
    def kind(self) -> PinKind:
        """The one place that is named; `load_matrix` refuses none and several."""
        return next(kind for kind in PinKind if getattr(self, kind))


class Build(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way of compiling a pin."""

    backend: Backend
    """What computes: the processor, or NVIDIA cards."""
    cuda_capabilities: tuple[Capability, ...] = ()
    """Compute capabilities to compile for; empty means the card of this machine."""
    cmake: dict[str, str] = {}
    """Definitions on top of the recipe's own, as `-DKEY=VALUE`."""


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the published Models table, and how it was served.

    Its weights are published in a repository or inside a package. Without either it is
    local: the other fields then follow from the file.
    """

    name: str = ""
    architecture: str = ""
    """`Dense` or `MoE`, as the published table says."""
    quant: str = ""
    active_params: str = ""
    """As published: a number of parameters, or `~3 B`."""
    repository: str = ""
    file: str = ""
    """In the repository; of a local model a path, relative to the folder of matrix.toml."""
    package: str = ""
    """A package of the Python index with a wheel that has the GGUF inside …"""
    version: str = ""
    """… its version …"""
    member: str = ""
    """… and the path of the GGUF in the wheel."""
    template: str = ""
    """The vendor's chat template: a file under `models/templates/` of a pin, which
    synthetic weights embed. Other weights have their own."""
    ctx_size: Positive = 0
    """Of a local model by default the context that it was trained with."""
    temp: Annotated[float, Meta(ge=0, le=100)] = 0.8
    top_k: Natural | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    chat_template_file: str | None = None
    """A corrected template of ours under `templates/`; None serves the vendor's."""
    chat_template_kwargs: dict[str, bool | Int64 | str] = {}
    todo_fix: bool = False
    """Give OpenCode our plugin for models that send `todos` as a string."""

    @property
    def local(self) -> bool:
        return not self.repository and not self.package

    def weights_of(self, profile: "Profile") -> WeightsKind:
        """The profile's kind, but of a model with one file only its own."""
        if self.repository:
            return profile.weights
        return WeightsKind.PACKAGE if self.package else WeightsKind.LOCAL


_OF_A_PUBLISHED_MODEL = (
    *("name", "architecture", "quant", "active_params", "ctx_size", "temp"),
)
OF_A_SOURCE = {
    "repository": ("file", *_OF_A_PUBLISHED_MODEL),
    "package": ("version", "member", *_OF_A_PUBLISHED_MODEL),
}
"""What a published model must have, by its source: no command downloads a file to plan."""


class SplitMode(StrEnum):
    """How several GPUs share a model."""

    NONE = "none"
    LAYER = "layer"
    ROW = "row"
    TENSOR = "tensor"


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """llama-server's flags that all models share."""

    parallel: Count
    batch_size: Positive
    ubatch_size: Positive
    cache_type_k: str
    cache_type_v: str
    flash_attn: bool
    jinja: bool = True
    context_shift: bool = False
    metrics: bool = True
    n_gpu_layers: Natural | None = None
    fit: bool | None = None
    """llama-server's own shrinking to the card; False makes what does not fit fail."""
    threads: Count | None = None
    n_cpu_moe: Natural | None = None
    """Keep the experts of the first layers, this many, in the CPU's memory."""
    override_tensor: tuple[Override, ...] = ()
    no_kv_offload: bool = False
    """Keep the cache in the CPU's memory."""
    split_mode: SplitMode | None = None
    tensor_split: tuple[Share, ...] = ()
    main_gpu: Natural | None = None
    env: dict[EnvName, str] = {}
    """Variables that llama-server is started with, beside those of the harness."""


class DraftType(StrEnum):
    """llama-server's `--spec-type`: who proposes the tokens that the model verifies."""

    SIMPLE = "draft-simple"
    """A smaller model of the same vocabulary."""
    EAGLE3 = "draft-eagle3"
    MTP = "draft-mtp"
    """The model's own head for multi-token prediction, or its assistant's file."""
    DFLASH = "draft-dflash"
    DSPARK = "draft-dspark"
    NGRAM_SIMPLE = "ngram-simple"
    NGRAM_MAP_K = "ngram-map-k"
    NGRAM_MAP_K4V = "ngram-map-k4v"
    NGRAM_MOD = "ngram-mod"
    NGRAM_CACHE = "ngram-cache"

    @property
    def has_weights(self) -> bool:
        """Whether tensors propose, not earlier text."""
        return self.value.startswith("draft-")


class Draft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way of speculative decoding."""

    type: DraftType
    n_max: Count | None = None
    """Tokens that are drafted for one verification; None is llama-server's default."""
    n_min: Natural = 0
    """Shorter drafts are not verified."""
    p_min: Probability = 0.0
    """Drafting stops below this probability."""
    model: Key | None = None
    """The model that drafts; None where none is needed, or its head is in the file."""
    synth_len: Annotated[float, Meta(ge=1)] | None = None
    """Accept at random so that a step yields this many tokens in the mean, the verified
    one included: the text is nonsense, the cost is real. None decides by the model."""


class Sweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one speed cell runs: llama-bench's flags, and how often."""

    n_prompt: tuple[Positive, ...]
    n_gen: tuple[Positive, ...]
    n_depth: tuple[Natural, ...] = (0,)
    """Tokens in the context before a test begins: every test runs at every depth."""
    repetitions: Count
    """Samples of each test inside one process, beyond the warm-up repetitions."""
    warmup_repetitions: Natural = 1
    """Repetitions before those; `-r` is the sum. The first is never part of a steady mean."""
    cache_type_k: str
    cache_type_v: str
    flash_attn: bool
    batch_size: Positive
    ubatch_size: Positive
    n_gpu_layers: Natural | None = None
    threads: Count | None = None
    n_cpu_moe: Natural | None = None
    override_tensor: tuple[Override, ...] = ()
    no_kv_offload: bool = False
    split_mode: SplitMode | None = None
    tensor_split: tuple[Share, ...] = ()
    main_gpu: Natural | None = None
    processes: Count = 1
    """Fresh processes, each a full repeat of the sweep."""
    target_spread: Annotated[float, Meta(gt=0, lt=1)] | None = None
    """Start more processes until the standard deviation between the steady means of a test
    is at most this share of their mean; None stops after `processes`."""
    max_processes: Count = 10
    """The most processes that `target_spread` may start, disturbed ones included."""
    timeout_s: Seconds = 3600
    """The longest that one test may take."""
    drafts: tuple[Key, ...] = ()
    """Of serve-speed cells, one for each: `none`, or a name of `[drafts]`."""
    concurrency: tuple[Annotated[int, Meta(ge=1, le=64)], ...] = (1,)
    """Of serve-speed cells: clients that ask at the same time, each with a slot."""
    env: dict[EnvName, str] = {}
    """Variables that llama-bench is started with, beside those of the harness."""


class HttpEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server of the OpenAI API that someone else runs: Ollama, LM Studio, vLLM."""

    url: str
    """As its clients take it: `http://127.0.0.1:11434/v1`."""
    model: str
    """The name that the server knows the model by."""
    api_key_env: EnvName | None = None
    """The environment variable with the key; the key itself is never written down."""
    request: dict[str, bool | Int64 | float | str] = {}
    """Further fields of each measured request, such as `ignore_eos = true`."""
    about: str = ""

    @property
    def base_url(self) -> str:
        """With `/v1` where the address has no path."""
        base = self.url.rstrip("/")
        return base if urlsplit(base).path else f"{base}/v1"

    @property
    def loopback(self) -> bool:
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}


class EndpointSweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured of an endpoint, over HTTP."""

    n_prompt: tuple[Positive, ...] = ()
    n_gen: tuple[Annotated[int, Meta(ge=2, le=2**31 - 1)], ...] = ()
    n_depth: tuple[Natural, ...] = (0,)
    """Tokens of a prompt in front of the generated ones."""
    concurrency: tuple[Annotated[int, Meta(ge=1, le=256)], ...] = (1,)
    """Clients that ask at the same time."""
    repetitions: Count
    """Requests of each test and client, after one warm-up request."""
    timeout_s: Seconds = 600
    """The longest that one answer may take."""


class AgentSetup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the agentic tasks are run: which agent, on which tasks, how often.

    Exactly one of the agents is named, by one of its versions.
    """

    opencode: Key | None = None
    pi: Key | None = None
    context7: Key
    network: Network
    tasks: tuple[Key, ...]
    """Folders of `scripts/llamatrix/tasks/`."""
    trials: Count = 1
    """Attempts from the beginning, each in a sandbox of its own."""
    max_turns: Count = 3
    """Prompts in one trial: the task's own, then what the checks found wrong."""
    output_tokens: Positive = 32000
    """The longest single answer, reasoning included."""
    ask_title: bool = True
    """Whether OpenCode asks the model for a title, as it does by itself."""
    lsp: bool | None = None
    """Language servers beside the agent; None is that version's own default."""
    any_template: bool = False
    """Run even where the chat template fails a case that agents cannot do without."""
    turn_timeout_s: Seconds = 3600
    silence_timeout_s: Seconds = 900
    """The longest without a word from agent or model; a prefill is silent."""
    scripts: dict[Key, tuple[Key, ...]] = {}
    """By task, the authored transcript that each trial plays in the model's place;
    empty lets the model speak for itself."""

    @property
    def kind(self) -> AgentKind:
        """The agent that the setup names; it names exactly one."""
        return next(kind for kind in AgentKind if getattr(self, kind) is not None)

    @property
    def version_key(self) -> Key:
        """The agent's version, by its name in the agent's table."""
        key: Key = getattr(self, self.kind)
        return key


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named selection: the product of its lists, thinned by two lists of globs."""

    about: str
    pins: tuple[Key, ...] = ()
    builds: tuple[Key, ...] = ()
    models: tuple[Key, ...] = ()
    weights: WeightsKind = WeightsKind.HUB
    endpoints: tuple[Key, ...] = ()
    """Measured beside the product of pins, builds and models, or without one."""
    measure: tuple[Measurement, ...]
    sweep: Key | None = None
    endpoint_sweep: Key | None = None
    server: Key | None = None
    agent: Key | None = None
    include: tuple[Glob, ...] = ("*",)
    """A cell stays only where one of these matches its id …"""
    exclude: tuple[Glob, ...] = ()
    """… and none of these does."""
    max_context: Annotated[int, Meta(ge=1024, le=2**31 - 1)] | None = None
    """`invoke all` also searches the largest context of its models, up to this one."""
    also: tuple[Key, ...] = ()
    """Profiles whose cells follow its own: of other weights, sweeps or agents."""


class Synthetic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the synthetic weights of all profiles share."""

    template_pin: Key
    """The pin whose tree the embedded chat template is read from."""
    seed: Natural = 0


class Nixpkgs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The flake's one input; a flake cannot read it, so `flake.lock` must say the same."""

    rev: Commit
    nar_hash: NarHash


class Cuda(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    package_set: Annotated[str, Meta(pattern=r"^cudaPackages_\d+_\d+$")]
    """The CUDA toolkit that Nix compiles with: an attribute of nixpkgs."""


class System(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One platform that the flake has outputs for."""

    opencode_package: NpmName
    """OpenCode's npm package with the binary for this platform."""


class NpmPin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a program that npm carries under a name we know."""

    version: ExactVersion
    about: str = ""


class Matrix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`matrix.toml`, whole."""

    schema_version: Annotated[int, Meta(ge=1, le=1)]
    nixpkgs: Nixpkgs
    cuda: Cuda
    systems: dict[SystemName, System]
    opencode: dict[Key, NpmPin]
    pi: dict[Key, NpmPin] = {}
    context7: dict[Key, NpmPin]
    pins: dict[Key, Pin]
    builds: dict[Key, Build]
    models: dict[Key, Model]
    sweeps: dict[Key, Sweep]
    servers: dict[Key, Server]
    drafts: dict[Key, Draft] = {}
    endpoints: dict[Key, HttpEndpoint] = {}
    endpoint_sweeps: dict[Key, EndpointSweep] = {}
    agents: dict[Key, AgentSetup] = {}
    synthetic: Synthetic
    profiles: dict[Key, Profile]


def matrix_schema() -> str:
    """Indented JSON text with a final newline: the content of `matrix.schema.json`.

    The docstrings of fields are the descriptions of its keys: editors show them.
    """
    schema = msgspec.json.schema(Matrix)
    for name, docstrings in _docstrings_of_fields():
        definition = schema["$defs"].get(name, {})
        for field, text in docstrings.items():
            if field in definition.get("properties", {}):
                definition["properties"][field]["description"] = text
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "llamatrix matrix.toml"
    kinds = ("package", "version", "commit"), ("git", "rev"), ("path",), ("binaries",)
    schema["$defs"]["Pin"]["oneOf"] = [{"required": list(keys)} for keys in kinds]
    model = schema["$defs"]["Model"]
    model["dependentRequired"] = OF_A_SOURCE
    model["oneOf"] = [{"required": ["file"]}, {"required": ["package"]}]
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _docstrings_of_fields() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each class of this module with the docstrings below its fields."""
    for node in ast.parse(Path(__file__).read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        found = {}
        for field, below in itertools.pairwise(node.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(below.value.value).split())
        yield node.name, found
