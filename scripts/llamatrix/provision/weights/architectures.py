"""How llama.cpp's architectures use memory, according to its loader at the locked pins."""

from dataclasses import dataclass

APRIL = "f49e9178767d557a522618b16ce8694f9ddac628"
LATE_APRIL = "f53577432541bb9edc1588c4ef45c66bf07e4468"
APRIL_PINS = (APRIL, LATE_APRIL)
JUNE = "9e3b928fd8c9d14dbf15a8768b9fdd7e5c721d66"
PATTERN_BY_NUMBER_ONLY = (*APRIL_PINS, JUNE)
"""Pins that read a window pattern given as an array only where it must be one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How an architecture chooses its sliding-window layers."""

    period: int = 0
    """Every n-th layer is full; 0 where the file must have a pattern."""
    full_first: bool = False
    """Whether the full layer is the first of a period, not the last."""
    optional: bool = False
    """Whether a file that names no window, or 0, has full attention only."""
    tokens: int | None = None
    """The window where the file names none."""
    fixed: bool = False
    """Whether `tokens` applies whatever the file names."""
    layers: int | None = None
    """The only number of layers that has windows at all."""


WINDOWS = {
    "afmoe": Window(period=4, optional=True),
    "cohere2": Window(period=4),
    "cohere2moe": Window(period=4, full_first=True),
    "exaone-moe": Window(period=4, tokens=128),
    "exaone4": Window(period=4, tokens=4096, layers=64),
    "gemma2": Window(period=2, tokens=4096),
    "gemma3": Window(period=6, optional=True),
    "gemma3n": Window(period=5),
    "gemma4": Window(),
    "gpt-oss": Window(period=2),
    "granite_swa": Window(),
    "laguna": Window(period=4, full_first=True, optional=True),
    "llama4": Window(period=4, tokens=8192, fixed=True),
    "mellum": Window(period=4, optional=True),
    "mimo2": Window(),
    "muse-glimmer": Window(period=4),
    "olmo2": Window(period=4, optional=True),
    "plamo3": Window(period=8, optional=True),
    "smallthinker": Window(
        period=4, full_first=True, optional=True, tokens=4096, fixed=True
    ),
    "spark2_5": Window(),
    "step35": Window(),
}

_PLAIN_NAMES = """
apertus arcee arctic baichuan bailingmoe bailingmoe2 bitnet bloom chameleon chatglm
codeshell cogvlm command-r dbrx deci deepseek dots1 ernie4_5 ernie4_5-moe exaone
falcon gemma glm4 glm4moe gpt2 gptneox granite granitemoe grok grovemoe hunyuan-dense
hunyuan-moe hunyuan_vl hy_v3 internlm2 jais jais2 llama maincoder minicpm minicpm3
minimax-m2 mistral3 mpt nemotron olmo olmoe openelm orion paddleocr pangu-embedded
phi2 phi3 phimoe plamo plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl
qwen3vlmoe refact seed_oss smollm3 stablelm starcoder starcoder2 xverse
"""
PLAIN = frozenset(_PLAIN_NAMES.split())
"""Full attention in every layer that has key heads, whatever window the file names."""
LATENT = frozenset({"deepseek2", "deepseek2-ocr", "mistral4"})
"""One compressed key per token (MLA) where the file has `key_length_mla`."""
DELTA_NET = frozenset({"qwen3next", "qwen35", "qwen35moe"})
STATE_SPACE = frozenset({"mamba", "mamba2"})
RWKV = frozenset({"rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
BY_KEY_HEADS = frozenset(
    {"granitehybrid", "jamba", "kimi-linear", "lfm2", "lfm2moe", "plamo2"}
)
"""Hybrids whose layers without key heads are recurrent."""
NEMOTRON = frozenset({"nemotron_h", "nemotron_h_moe"})
_WITHOUT_CACHE_NAMES = """
bert dream eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llada llada-moe modern-
bert neo-bert nomic-bert nomic-bert-moe rnd1
"""
WITHOUT_CACHE = frozenset(_WITHOUT_CACHE_NAMES.split())
READ = frozenset().union(
    *(WINDOWS, PLAIN, LATENT, DELTA_NET, STATE_SPACE, RWKV, BY_KEY_HEADS),
    *(NEMOTRON, WITHOUT_CACHE, {"falcon-h1"}),
)
_PROVEN_NAMES = """
arcee deci deepseek2 ernie4_5 exaone exaone-moe gemma gemma2 gemma3 gemma4 glm4
glm4moe gpt-oss hunyuan-dense kimi-linear llama llama4 mamba mamba2 mimo2 minimax-m2
mistral3 plamo3 qwen3 qwen35 qwen35moe qwen3moe qwen3next seed_oss smallthinker
smollm3 step35
"""
PROVEN = frozenset(_PROVEN_NAMES.split())
"""Architectures whose cache, state and weights llama-fit-params of April and of current
confirms, for a small model or one of full size."""

HOST_TENSORS = ("token_embd.weight", "position_embd.weight", "token_types.weight")
PER_LAYER_TABLE = "per_layer_token_embd.weight"
CUDA_READS_ROWS = frozenset(
    {"f16", "f32", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"}
)
"""Types whose rows CUDA reads one by one: b8643 then has the per-layer table on the card."""
APRIL_PREDICTION = frozenset(
    {"bailingmoe2", "exaone-moe", "glm-dsa", "glm4", "glm4moe"}
)
"""Architectures whose prediction blocks the two pins of April know."""
