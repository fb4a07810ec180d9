"""The columns of a dataset. A `Column` defines the Arrow type, the Hugging Face feature and the text of the card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class Column(NamedTuple):
    """A column. `type` is an Arrow scalar type, "image", "audio<RATE>" (Hz), "class", or `list<...>` of these."""

    name: str
    type: str
    role: str  # "input", "label", "about" (origin of the row) or "kept" (copied from the source by `--keep`)
    meaning: str  # one sentence
    names: tuple[str, ...] = ()  # class names, for "class"

    @property
    def arrow(self) -> pa.DataType:
        """Return the Arrow type that `datasets` requires. With another type, `datasets` drops the feature silently."""
        return _arrow(self.type)

    @property
    def feature(self) -> dict[str, Any]:
        """Return the Hugging Face feature in the form of `Features.to_dict`."""
        return _feature(self.type, self.names)

    def class_name(self, value: int) -> str:
        """Return the name of class `value`."""
        return self.names[value] if 0 <= value < len(self.names) else f"{value}, not a class"


KEY = Column(
    "key", "string", "about", "Origin of the row: the file relative to the source, and the position in the file."
)
COPY = Column("copy", "int32", "about", "Number of this row among the `--copies` of its sample, from 0.")


def _arrow(name: str) -> pa.DataType:
    import pyarrow as pa

    if name.startswith("list<"):
        return pa.list_(_arrow(name[5:-1]))
    if name == "image" or name.startswith("audio<"):
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.int64() if name == "class" else pa.type_for_alias(name)


def _feature(name: str, names: tuple[str, ...]) -> dict[str, Any]:
    if name.startswith("list<"):
        return {"feature": _feature(name[5:-1], names), "_type": "List"}
    if name == "image":
        return {"_type": "Image"}
    if name.startswith("audio<"):
        return {"sampling_rate": int(name[6:-1]), "_type": "Audio"}
    return {"names": list(names), "_type": "ClassLabel"} if name == "class" else {"dtype": name, "_type": "Value"}


def arrow_schema(columns: Sequence[Column], facts: dict[str, Any]) -> pa.Schema:
    """Return the schema of a file: `columns`, the metadata that `datasets` reads, and `facts` under "pseudolabel"."""
    import pyarrow as pa

    features = {column.name: column.feature for column in columns}
    about = {**facts, "columns": {c.name: {"role": c.role, "meaning": c.meaning} for c in columns}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), "pseudolabel": json.dumps(about)}
    return pa.schema([(column.name, column.arrow) for column in columns], metadata=metadata)


IGNORE_INDEX = -100  # the label that loss functions ignore
