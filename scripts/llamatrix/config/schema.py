"""The JSON Schema of `matrix.toml`, for editors and for checks from outside."""

import msgspec

from llamatrix.config.matrix import Matrix


def matrix_schema() -> str:
    """Indented JSON text with a final newline: the content of `matrix.schema.json`."""
    schema = msgspec.json.schema(Matrix)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "llamatrix matrix.toml"
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"
