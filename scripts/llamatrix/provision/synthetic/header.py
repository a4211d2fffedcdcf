"""Everything before the tensor data, in the gguf package's own writing."""

from io import BufferedWriter

from llamatrix.provision.synthetic.hyperparameters import shape_of
from llamatrix.provision.synthetic.layout import Layout
from llamatrix.provision.synthetic.metadata import add_metadata
from llamatrix.provision.synthetic.spec import SyntheticSpec

ALIGNMENT = 32
"""Tensor data begins, and each tensor is padded, to a multiple of this many bytes."""


def write_header(file: BufferedWriter, spec: SyntheticSpec, plan: Layout) -> None:
    """Write header, metadata and tensor list; the next byte is the first of the data."""
    # Imported here because gguf brings numpy: `invoke plan` must not wait for it.
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.gguf_writer import WriterState

    writer = GGUFWriter(None, shape_of(spec.model, spec.scale).architecture)
    add_metadata(writer, spec)
    for tensor in plan.tensors:
        writer.add_tensor_info(
            tensor.name,
            tensor.shape[::-1],
            np.dtype(np.float32),  # not looked at: raw_dtype decides
            tensor.bytes,
            raw_dtype=GGMLQuantizationType[tensor.type],
        )
    # The file is the caller's, so that it is closed in every case.
    writer.fout, writer.state = [file], WriterState.EMPTY
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.write_padding(file, file.tell())
