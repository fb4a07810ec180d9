"""What a column of a dataset is, said once: its Arrow type, its Hugging Face feature and the card follow from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class Column(NamedTuple):
    """One column: `type` is an Arrow scalar's name, "image", "audio<RATE>", "class", or any of them in `list<...>`."""

    name: str
    type: str
    role: str  # "input", "label", "about": where the row comes from, or "kept": of the source, by `--keep`
    meaning: str  # one sentence
    names: tuple[str, ...] = ()  # of the classes, for "class"

    @property
    def arrow(self) -> pa.DataType:
        """The exact Arrow type `datasets` asks for: anything else silently loses the feature."""
        return _arrow(self.type)

    @property
    def feature(self) -> dict[str, Any]:
        """The Hugging Face feature, as `Features.to_dict` writes it."""
        return _feature(self.type, self.names)

    def class_name(self, value: int) -> str:
        """The name of a class."""
        return self.names[value] if 0 <= value < len(self.names) else f"{value}, no class"


KEY = Column(
    "key", "string", "about", "Where the row comes from: the file relative to the source, and the place in it."
)
COPY = Column("copy", "int32", "about", "Which of the `--copies` of the sample this is, from 0.")


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
    """The file's schema: `columns`, with the metadata `datasets` decodes by and `facts` under "pseudolabel"."""
    import pyarrow as pa

    features = {column.name: column.feature for column in columns}
    about = {**facts, "columns": {c.name: {"role": c.role, "meaning": c.meaning} for c in columns}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), "pseudolabel": json.dumps(about)}
    return pa.schema([(column.name, column.arrow) for column in columns], metadata=metadata)


IGNORE_INDEX = -100  # the label no loss looks at
