"""Read a model as llama.cpp loads it: one GGUF file or all parts of a split one."""

import mmap
import re
from pathlib import Path

from llamatrix.provision.weights.gguf_header import GgufHeader, HeaderReader, refuse
from llamatrix.units import bytes_text

TEMPLATE_KEY = "tokenizer.chat_template"
_SHOWN_CHARACTERS = 4
_SPLIT_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def read_model(path: Path) -> GgufHeader:
    """Read a model's header; ProvisionError names why llama.cpp would not load it.

    Given the first part of a split model, the headers of the other parts are read too.
    """
    header = read_header(path)
    count = header.metadata.get("split.count")
    if isinstance(count, int) and count > 1:
        header = _with_other_parts(header, count)
    _require_language_model(header)
    return header


def has_chat_template(path: Path) -> bool:
    """Whether a file has a chat template; without one llama-server uses chatml."""
    return bool(read_header(path).metadata.get(TEMPLATE_KEY))


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file of any kind."""
    try:
        if path.exists() and not path.is_file():
            refuse(path, "is not a regular file")
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                refuse(path, "not a GGUF: the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _require_magic(path, data)
                return HeaderReader(path, data).header()
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        refuse(path, f"cannot be read: {error}")


_OTHER_FORMATS = {
    b"vers": "a git-lfs pointer: `git lfs pull` brings the file itself",
    b"Entr": "the hub's reply to an unknown name, saved as a file",
    b"Inva": "an error message, saved as a file",
    b"<!DO": "a web page, saved as a file",
    b"<htm": "a web page, saved as a file",
    b"<?xm": "an XML answer, saved as a file",
    b'{"er': "an error message in JSON, saved as a file",
    b"PK\x03\x04": "a zip archive or a PyTorch checkpoint",
    b"\x1f\x8b\x08\x00": "a gzip archive",
    b"lmgg": "a GGML file older than GGUF, which llama.cpp no longer reads",
    b"fmgg": "a GGML file older than GGUF, which llama.cpp no longer reads",
    b"tjgg": "a GGML file older than GGUF, which llama.cpp no longer reads",
    b"FUGG": "a GGUF whose bytes are swapped",
}


def _require_magic(path: Path, data: mmap.mmap) -> None:
    magic = data[:_SHOWN_CHARACTERS]
    if magic == b"GGUF":
        return
    shown = "".join(chr(byte) if chr(byte).isprintable() else "?" for byte in magic)
    what = _OTHER_FORMATS.get(magic, "")
    if data[8:10] == b'{"':
        what = "a safetensors file"
    if magic == b"vers" and b"git-lfs" not in data[:64]:
        what = ""
    detail = f" ({what})" if what else ""
    size = len(data)
    text = bytes_text(size) if size >= 2**20 else f"{size} bytes"
    refuse(path, f"not a GGUF: it begins with {shown!r}{detail}, {text}")


def _require_language_model(header: GgufHeader) -> None:
    """Refuse a projector, an adapter, a vocabulary and other kinds of GGUF."""
    kind = header.metadata.get("general.type")
    names = {tensor.name for tensor in header.tensors}
    if header.architecture == "clip" or kind == "mmproj":
        refuse(
            header.path,
            "a projector (mmproj) for images or audio, not a language model",
        )
    if kind == "adapter":
        refuse(header.path, "a LoRA adapter, not a language model; give its base model")
    if kind in {"imatrix", "controlvector"} or header.architecture == "controlvector":
        refuse(header.path, f"a file of type {kind!r}, not a language model")
    if not header.architecture:
        refuse(header.path, "its metadata has no general.architecture")
    if not names:
        refuse(header.path, "has no tensors: a vocabulary or metadata only")
    _refuse_foreign_tensors(header)
    if "token_embd.weight" not in names:
        refuse(
            header.path,
            f"has no tensor token_embd.weight; architecture {header.architecture!r} is "
            "no language model that llama.cpp serves",
        )


_ROOTS = """
altup_proj altup_unembd_proj blk cls conf_proj conv1d convnext d2t dec dense_2 dense_3
enc fc hrm markov_w1 markov_w2 masked_embd_centroids masked_embd_ordering nextn output
output_hc_base output_hc_down output_hc_fn output_hc_norm output_hc_scale output_hc_up
output_norm output_res_score per_layer_model_proj per_layer_proj_norm
per_layer_token_embd position_embd posnet rope_factors_long rope_factors_short
rope_freqs selector_hidden selector_predecessor selector_successor token_embd
token_embd_norm token_types
"""
_TENSOR_ROOTS = frozenset(_ROOTS.split())
"""First components of all tensor names in `LLM_TENSOR_NAMES` of the four pins."""


def _refuse_foreign_tensors(header: GgufHeader) -> None:
    """Refuse tensors that no text model has: the loader counts them and stops."""
    unknown = [
        tensor
        for tensor in header.tensors
        if tensor.name.partition(".")[0] not in _TENSOR_ROOTS
    ]
    if not unknown:
        return
    roots = sorted({f"{tensor.name.partition('.')[0]}.*" for tensor in unknown})
    size = bytes_text(sum(tensor.bytes for tensor in unknown))
    own = len(header.tensors) - len(unknown)
    refuse(
        header.path,
        f"has {len(unknown)} tensors ({', '.join(roots[:5])}; {size}) that are not part "
        f"of a text model: llama.cpp refuses the file (wrong number of tensors; expected "
        f"{len(header.tensors)}, got at most {own}); take a text-only GGUF with its "
        "projector (mmproj) in a file of its own",
    )


def _with_other_parts(first: GgufHeader, count: int) -> GgufHeader:
    number = first.metadata.get("split.no")
    name = _SPLIT_NAME.fullmatch(first.path.name)
    if number != 0:
        shown = number + 1 if isinstance(number, int) else "?"
        refuse(first.path, f"part {shown} of {count} of a split model; give the first")
    if not name or (int(name[2]), int(name[3])) != (1, count):
        refuse(
            first.path,
            f"the first of {count} parts; llama.cpp finds the others only where its name "
            f"ends in -00001-of-{count:05}.gguf",
        )
    tensors = list(first.tensors)
    for index in range(1, count):
        path = first.path.with_name(f"{name[1]}-{index + 1:05}-of-{count:05}.gguf")
        part = read_header(path)
        if part.metadata.get("split.no") != index:
            refuse(path, f"is not part {index + 1} of {count} (split.no differs)")
        tensors += part.tensors
    total = first.metadata.get("split.tensors.count")
    if isinstance(total, int) and total != len(tensors):
        refuse(
            first.path,
            f"{total} tensors announced, its {count} parts have {len(tensors)}",
        )
    if len({tensor.name for tensor in tensors}) != len(tensors):
        refuse(first.path, "two of its parts have a tensor of the same name")
    return GgufHeader(path=first.path, metadata=first.metadata, tensors=tuple(tensors))
