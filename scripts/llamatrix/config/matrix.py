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
Temperature = Annotated[float, Meta(ge=0, le=100)]
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
BATCHED = "batched"
"""Stands in its place in the ids of cells of llama-batched-bench."""
WITH_SYNTHETIC_HEAD = ("qwen35-27b", "qwen35-35b-a3b", "qwen35-9b", "qwen35-4b")
"""Models whose synthetic weights can have a head for multi-token prediction."""
WITH_SYNTHETIC_ASSISTANT = ("gemma4-26b-a4b",)
"""Models whose synthetic weights can have an assistant, a file that drafts for them."""
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
    ENDPOINT = "endpoint"
    """Whatever an endpoint serves; never a profile's own."""

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
            WeightsKind.ENDPOINT: "unverified",
        }[self]

    def shown_name(self, model: str) -> str:
        """The name of a model in every table: what is synthetic or unverified says so."""
        if self is WeightsKind.ENDPOINT:
            return f"{model} ({self.label})"
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


TOOLS_OF_PI = ("read", "bash", "edit", "write")
"""Pi's own, beside those of Context7."""
CONTEXT7 = "context7"
"""In an agent's `tools`, the documentation server's."""


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
    """A note for readers; `plan` and tables show it."""

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
    """The name in tables."""
    architecture: str = ""
    """`Dense` or `MoE`, as the published table says."""
    quant: str = ""
    """The quantisation in tables, such as `Q4_K_XL`."""
    active_params: str = ""
    """As published: a number of parameters, or `~3 B`."""
    repository: str = ""
    """The hub's repository, as `owner/name`."""
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
    """Of a local model by default what fits here of the context it was trained with."""
    temp: Temperature = 0.8
    """`--temp`."""
    top_k: Natural | None = None
    """`--top-k`; None leaves llama-server's default."""
    top_p: Probability | None = None
    """`--top-p`; None leaves llama-server's default."""
    min_p: Probability | None = None
    """`--min-p`; None leaves llama-server's default."""
    chat_template_file: str | None = None
    """A corrected template of ours under `templates/`; None serves the vendor's."""
    chat_template_kwargs: dict[str, bool | Int64 | str] = {}
    """`--chat-template-kwargs`, such as `enable_thinking`."""
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
    """`--parallel`: slots, one for each client at a time."""
    batch_size: Positive
    """`--batch-size`, in tokens."""
    ubatch_size: Positive
    """`--ubatch-size`, in tokens."""
    cache_type_k: str
    """`--cache-type-k`."""
    cache_type_v: str
    """`--cache-type-v`."""
    flash_attn: bool
    """`--flash-attn`."""
    jinja: bool = True
    """`--jinja`: use the chat template."""
    context_shift: bool = False
    """`--context-shift`: drop old tokens where the context is full."""
    metrics: bool = True
    """`--metrics`: serve counters, which trials are checked against."""
    n_gpu_layers: Natural | None = None
    """`--n-gpu-layers`; None leaves the program's default."""
    fit: bool | None = None
    """llama-server's own shrinking to the card; False makes what does not fit fail."""
    threads: Count | None = None
    """`--threads`; None leaves the program's default."""
    n_cpu_moe: Natural | None = None
    """Keep the experts of the first layers, this many, in the CPU's memory."""
    override_tensor: tuple[Override, ...] = ()
    """`--override-tensor`: where tensors are kept, by pattern."""
    no_kv_offload: bool = False
    """Keep the cache in the CPU's memory."""
    split_mode: SplitMode | None = None
    """`--split-mode`: how a model is split over cards."""
    tensor_split: tuple[Share, ...] = ()
    """`--tensor-split`: the share of each card."""
    main_gpu: Natural | None = None
    """`--main-gpu`: the card that is used where a model is not split."""
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
    """`--spec-type`."""
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


class PromptKind(StrEnum):
    """What a server's prompts are made of; texts of ours."""

    MIXED = "mixed"
    """Prose, code and tool calls, numbered."""
    CODE = "code"
    """A Python module, about to be repeated with changes."""
    PROSE = "prose"
    TOOL_CALLS = "tool-calls"
    """Calls of an agent as JSON, and their results."""


class Sweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one speed cell runs: llama-bench's flags, and how often."""

    n_prompt: tuple[Positive, ...]
    """`-p`: prompt lengths in tokens, one `pp` row each."""
    n_gen: tuple[Positive, ...]
    """`-n`: generated tokens, one `tg` row each."""
    n_depth: tuple[Natural, ...] = (0,)
    """Tokens in the context before a test begins: every test runs at every depth."""
    repetitions: Count
    """Samples of each test inside one process, beyond the warm-up repetitions."""
    warmup_repetitions: Natural = 1
    """Repetitions before those; `-r` is the sum. The first is never part of a steady mean."""
    cache_type_k: str
    """`-ctk`: the type of the K cache, such as `q8_0`."""
    cache_type_v: str
    """`-ctv`: the type of the V cache."""
    flash_attn: bool
    """`-fa`."""
    batch_size: Positive
    """`-b`, in tokens."""
    ubatch_size: Positive
    """`-ub`, in tokens."""
    n_gpu_layers: Natural | None = None
    """`-ngl`; None leaves the program's default."""
    threads: Count | None = None
    """`-t`; None leaves the program's default."""
    n_cpu_moe: Natural | None = None
    """`-ncmoe`: layers whose experts stay on the CPU."""
    override_tensor: tuple[Override, ...] = ()
    """`-ot`: where tensors are kept, by pattern."""
    no_kv_offload: bool = False
    """`-nkvo`: keep the KV cache in host memory."""
    split_mode: SplitMode | None = None
    """`-sm`: how a model is split over cards."""
    tensor_split: tuple[Share, ...] = ()
    """`-ts`: the share of each card."""
    main_gpu: Natural | None = None
    """`-mg`: the card that is used where a model is not split."""
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
    batched: bool = False
    """Of serve-speed cells, one more: as many sequences by llama-batched-bench, which is
    the engine without a server."""
    prompts: tuple[PromptKind, ...] = (PromptKind.MIXED,)
    """Of serve-speed cells: what the prompts are made of, each measured by itself. What
    drafts from earlier text bring depends on it."""
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
    """Further fields of each request that measures speed, such as `ignore_eos = true`."""
    ctx_size: Natural = 0
    """The context that an agent may count on, in tokens; trials need it."""
    about: str = ""
    """A note for readers."""

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
    """Prompt lengths in tokens, one row each."""
    n_gen: tuple[Annotated[int, Meta(ge=2, le=2**31 - 1)], ...] = ()
    """Generated tokens, one row each."""
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
    """A key of `[opencode]`: the agent is OpenCode of that version."""
    pi: Key | None = None
    """A key of `[pi]`: the agent is Pi of that version."""
    context7: Key
    """A key of `[context7]`."""
    network: Network
    """What the sandbox can reach."""
    tasks: tuple[Key, ...]
    """Folders of `scripts/llamatrix/tasks/`."""
    trials: Count = 1
    """Attempts from the beginning, each in a sandbox of its own."""
    max_turns: Count = 3
    """Prompts in one trial: the task's own, then what the checks found wrong."""
    output_tokens: Positive = 32000
    """The longest single answer, reasoning included."""
    seed: Natural | None = None
    """`--seed` of llama-server in the first trial; each later trial has the next number.
    None leaves it to chance."""
    temperatures: tuple[Temperature, ...] = ()
    """`--temp` of llama-server; the trials take turns. Empty leaves the model's own."""
    tools: tuple[Key, ...] = ()
    """Only these of Pi's tools are offered, `context7` for those of its server, with its
    rule and its skill: a prompt for small models. Empty offers all."""
    system_prompt: str = ""
    """Replaces Pi's own system prompt; empty keeps it."""
    first_prompt: str = ""
    """What the model reads first, where `{task}` stands for the task's prompt; empty is
    that prompt alone."""
    ask_title: bool = True
    """Whether OpenCode asks the model for a title, as it does by itself."""
    lsp: bool | None = None
    """Language servers beside the agent; None is that version's own default."""
    any_template: bool = False
    """Run even where the chat template fails a case that agents cannot do without."""
    turn_timeout_s: Seconds = 3600
    """The longest turn, in seconds."""
    silence_timeout_s: Seconds = 900
    """The longest without a word from agent or model; a prefill is silent."""
    scripts: dict[Key, tuple[Key, ...]] = {}
    """By task, the authored transcript that each trial plays in the model's place;
    empty lets the model speak for itself."""

    @property
    def has_context7(self) -> bool:
        """Whether the model is offered its tools."""
        return not self.tools or CONTEXT7 in self.tools

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
    """A note for readers; `plan` prints it."""
    pins: tuple[Key, ...] = ()
    """Keys of `[pins]`."""
    builds: tuple[Key, ...] = ()
    """Keys of `[builds]`."""
    models: tuple[Key, ...] = ()
    """Keys of `[models]`."""
    weights: WeightsKind = WeightsKind.HUB
    """Where the weights of its models come from."""
    endpoints: tuple[Key, ...] = ()
    """Measured beside the product of pins, builds and models, or without one."""
    measure: tuple[Measurement, ...]
    """What is measured."""
    sweep: Key | None = None
    """A key of `[sweeps]`."""
    endpoint_sweep: Key | None = None
    """A key of `[endpoint_sweeps]`."""
    server: Key | None = None
    """A key of `[servers]`."""
    agent: Key | None = None
    """A key of `[agents]`."""
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
    """Of the random values."""


class Nixpkgs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The flake's one input; a flake cannot read it, so `flake.lock` must say the same."""

    rev: Commit
    """The commit."""
    nar_hash: NarHash
    """Of the unpacked source, as `flake.lock` has it."""


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
    """An exact version."""
    about: str = ""
    """A note for readers."""


class Matrix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`matrix.toml`, whole."""

    schema_version: Annotated[int, Meta(ge=1, le=1)]
    """Version of this file's format."""
    nixpkgs: Nixpkgs
    """The nixpkgs that the flake evaluates."""
    cuda: Cuda
    """The CUDA toolkit that Nix compiles with."""
    systems: dict[SystemName, System]
    """Platforms of the flake, by Nix' name."""
    opencode: dict[Key, NpmPin]
    """Versions of OpenCode, by key."""
    pi: dict[Key, NpmPin] = {}
    """Versions of Pi, by key."""
    context7: dict[Key, NpmPin]
    """Versions of the Context7 MCP server, by key."""
    pins: dict[Key, Pin]
    """llama.cpp commits, trees and programs, by key."""
    builds: dict[Key, Build]
    """Ways to compile a pin, by key."""
    models: dict[Key, Model]
    """Models and how they are served, by key."""
    sweeps: dict[Key, Sweep]
    """What llama-bench runs, by key."""
    servers: dict[Key, Server]
    """llama-server's settings, by key."""
    drafts: dict[Key, Draft] = {}
    """Settings of speculative decoding, by key."""
    endpoints: dict[Key, HttpEndpoint] = {}
    """Servers of others that speak the OpenAI API, by key."""
    endpoint_sweeps: dict[Key, EndpointSweep] = {}
    """What is measured over HTTP, by key."""
    agents: dict[Key, AgentSetup] = {}
    """How agentic tasks are run, by key."""
    synthetic: Synthetic
    """Settings of all synthetic weights."""
    profiles: dict[Key, Profile]
    """Named selections of cells, by key."""


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
