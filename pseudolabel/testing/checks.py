"""Checks for every task. Each raises `AssertionError` with the fault and the remedy."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import MISSING, FrozenInstanceError, fields
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

import numpy as np

from pseudolabel.contracts import Sample, UserError, arrow_schema, chance_for, splits
from pseudolabel.engine.run import run
from pseudolabel.engine.stream import rows as stream_rows
from pseudolabel.inspection.describe import labels_to_count
from pseudolabel.inspection.verify import verify
from pseudolabel.storage.files import file_sha256
from pseudolabel.storage.layout import DATA
from pseudolabel.tasks.base.task import PerSampleLabeler, Rows, SampleTask, Task, row_columns
from pseudolabel.testing.fixtures import MAKERS, source_of

COPIES = 2


def check_task(task: type[Task] | Task, source: Path | str | None = None) -> None:
    """Check a task class, with its default options, or a task.

    A dataset is made of `source`; by default of small files that are drawn for the task's modality. It takes some
    seconds, and starts worker processes: call it in a test, or below `if __name__ == "__main__"`.
    """
    check_fields(task if isinstance(task, type) else type(task))
    task = task() if isinstance(task, type) else task
    check_definition(task)
    check_options(task)
    check_columns(task)
    with TemporaryDirectory() as folder:
        if source is None:
            source = source_of(task, Path(folder))
            MAKERS[source.name](source)
        source, dataset = Path(source), Path(folder, "dataset")
        make_dataset(task, source, dataset)
        check_rows(task, dataset)
        check_labels(task, dataset, source)
        check_same_bytes(task, dataset, source)
        check_chance(task, dataset, source)
        check_false_labels(task, dataset, source)


def make_dataset(task: Task, source: Path, out: Path, workers: int = 1) -> None:
    """Make the dataset that is checked."""
    run(task, source, out=out, copies=COPIES, validation=0.3, workers=workers)


def require(holds: Any, message: str) -> None:
    """Raise `AssertionError` unless `holds`. A plain `assert` is left out by `python -O`."""
    if not holds:
        raise AssertionError(message)


def check_fields(kind: type[Task]) -> None:
    """Check that the class has a docstring, and that each field is an option with a help text and a default."""
    text = kind.__dict__.get("__doc__") or ""
    require(
        text and not text.startswith(f"{kind.__name__}("),  # which `dataclass` writes
        f"{kind.__name__} has no docstring; its first paragraph is the help of the command",
    )
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        option = getattr(hints[field.name], "__metadata__", (None,))[0]
        require(
            getattr(option, "help", "") and field.default is not MISSING,
            f'the field {field.name!r} is no option; write `{field.name}: Annotated[int, Option(help="...")] = 3`',
        )


def check_definition(task: Task) -> None:
    """Check that the task is a frozen dataclass with a description, and that a pickle of it is equal to it."""
    kind = type(task)
    require(task.description.paper, f"{kind.__name__}.description names no paper; give authors, year and URL")
    try:
        task.name = task.name  # type: ignore[misc]
        raise AssertionError(f"{kind.__name__} can be changed; decorate it with @dataclass(frozen=True)")
    except FrozenInstanceError:
        pass
    require(
        pickle.loads(pickle.dumps(task)) == task,
        f"a pickle of {task!r} is another task; workers would make other rows: compare and store fields only",
    )


def check_options(task: Task) -> None:
    """Check that a value of a wrong type or out of range is refused, and that the error names the option."""
    hints = get_type_hints(type(task), include_extras=True)
    for name, hint in ((field.name, hints[field.name]) for field in fields(task)):
        bounds = hint.__metadata__[0]
        beyond = [] if bounds.min is None else [bounds.min - 1]
        beyond += [] if bounds.max in (None, inf) else [bounds.max + 1]
        textual = str in (hint.__args__[0], *get_args(hint.__args__[0]))
        for wrong in (b"1", object(), [1, 2, 3], nan, *beyond, *(() if textual else ("nonsense",))):
            _check_refusal(task, name, wrong)


def _check_refusal(task: Task, name: str, wrong: Any) -> None:
    option = f"--{name.replace('_', '-')}"
    remedy = f"`__post_init__` must call super().__post_init__() first, and raise UserError({option!r} ...)"
    try:
        type(task)(**{name: wrong})
    except UserError as refused:
        require(str(refused).startswith(f"{option} "), f"{name}={wrong!r} gives {refused!s:.80}; name {option} first")
    except Exception as fault:
        raise AssertionError(f"{name}={wrong!r} raises {type(fault).__name__}: {fault}; {remedy}") from fault
    else:
        raise AssertionError(f"{name}={wrong!r} is accepted; {remedy}")


def check_columns(task: Task) -> None:
    """Check that there are inputs and labels, that each has a meaning, and that trainers can tell their names apart."""
    columns = row_columns(task)
    names, roles = [column.name for column in columns], {column.role for column in columns}
    require(names[:2] == ["key", "copy"], f"the first columns are {names[:2]}; they must be key and copy")
    require(
        not {"label", "labels"} <= set(names),
        "there are both `label` and `labels`; a trainer's collator renames the one to the other: use another name",
    )
    require({"input", "label"} <= roles, f"the columns have the roles {sorted(roles)}; give an `input` and a `label`")
    for column in columns:
        require(
            column.meaning.endswith("."), f"the meaning of column {column.name!r} is no sentence; end it with a dot"
        )
        require(
            column.type != "class" or column.names,
            f"column {column.name!r} of type class has no names; give one for each label, in order",
        )


def check_rows(task: Task, dataset: Path) -> None:
    """Check that the rows have the types of the columns and no nulls, that all differ, and that each copy has rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected, tables = arrow_schema(row_columns(task), {}), []
    for path in sorted((dataset / DATA).iterdir()):
        tables.append(pq.read_table(path))
        found = tables[-1].schema
        require(
            found.equals(expected) and found.metadata[b"huggingface"] == expected.metadata[b"huggingface"],
            f"the files have the schema\n{found}\nbut columns() says\n{expected}\nlet columns() depend on fields only",
        )
        for name, column in zip(found.names, tables[-1].columns, strict=True):
            require(
                not column.null_count, f"column {name!r} has {column.null_count} nulls; raise UnusableSample instead"
            )
    made = pa.concat_tables(tables).to_pylist()
    copies = {row["copy"] for row in made}
    require(copies == set(range(COPIES)), f"two copies were asked for, and there are rows of {sorted(copies)}")
    require(
        len(set(map(repr, made))) == len(made),
        "a row is there twice; draw what makes it different from `rng`, or yield it once",
    )


def check_labels(task: Task, dataset: Path, source: Path) -> None:
    """Check that the task has a `check_row` of its own, which finds no fault with the source and without."""
    labeler = task.labeler(dataset)
    inverse = (
        type(labeler.task).check_row is not SampleTask.check_row
        if isinstance(labeler, PerSampleLabeler)
        else "check_rows" in vars(type(labeler))
    )
    require(inverse, f"{type(task).__name__} has no check_row; write one that undoes the label and returns the fault")
    for against in ((), source):
        found = verify(dataset, against, workers=1)
        where = "with the source" if against else "without the source"
        require(not found.faults, f"`pseudolabel verify` {where} finds false rows: {found.faults[:2]}; mend check_row")
        true, of = (found.true, found.checked) if against else (found.true + found.consistent, found.checked)
        require(of and true == of, f"`pseudolabel verify` {where} finds {true} of {of} rows true; mend check_row")
    proves, true = task.description.self_verifying(task), verify(dataset, workers=1).true
    require(
        true == (found.checked if proves else 0),
        f"description.self_verifying says {proves}, but {true} of {found.checked} rows are true without the source",
    )


def check_same_bytes(task: Task, dataset: Path, source: Path) -> None:
    """Check that the number of workers does not change the bytes, and that another seed gives other rows."""
    with TemporaryDirectory() as folder:
        make_dataset(task, source, Path(folder), workers=2)
        require(
            checksums(folder) == checksums(dataset),
            "one worker and two made different bytes; draw random numbers from `rng` only, and let no row depend on "
            "the time, on the process, or on the order of a set",
        )
    one, other = (list(map(repr, stream_rows(task, source, seed=seed, artefacts=dataset))) for seed in (0, 1))
    require(one != other, "seeds 0 and 1 give the same rows; draw from `rng`")


def checksums(dataset: Path | str) -> dict[str, str]:
    """Return name -> SHA-256 of each file under `data/`."""
    files = sorted(Path(dataset, DATA).iterdir())
    return {path.name: file_sha256(path) for path in files}


def check_chance(task: Task, dataset: Path, source: Path) -> None:
    """Check that no global generator is used, no payload changed, and that each copy draws from its own generator."""
    np.random.seed(5)  # noqa: NPY002 - the state of these is watched
    random.seed(5)
    before = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    drawn: list[tuple[str, int]] = []
    chance = chance_for(0, task.name)

    def watched(key: str, copy: int) -> np.random.Generator:
        drawn.append((key, copy))
        return chance(key, copy)

    try:
        labelled = task.labeler(dataset).label(map(_read_only, _samples(task, source)), watched, COPIES)
        made = [item for item in labelled if isinstance(item, Rows)]
    except ValueError as fault:
        if "read-only" not in str(fault):
            raise
        raise AssertionError("the task writes to its payload, which other copies share; copy it first") from fault
    require(made, "the samples of the source give no row")
    require(
        np.array_equal(before[0], np.random.get_state()[1]) and before[1] == random.getstate(),  # type: ignore[index]  # noqa: NPY002
        "a global generator was used; draw from the argument `rng` only",
    )
    require(len(set(drawn)) == len(drawn), "chance(key, copy) was called twice; both generators draw the same numbers")
    require({copy for _, copy in drawn} == set(range(COPIES)), "copies share a generator; call chance() for each")


def check_false_labels(task: Task, dataset: Path, source: Path) -> None:
    """Check that `check_row` finds a fault if a label, or the first value of a list, is replaced by another value.

    Text is left out: `verify` makes it again. A mask is left out if there are other labels: the hidden places are drawn
    at random, so another mask may be as true.
    """
    import pyarrow as pa

    labeler, schema = task.labeler(dataset), arrow_schema(row_columns(task), {})
    labels = [column for column in labels_to_count(row_columns(task)) if column.name != "key"]
    missed = {column.name: 0 for column in labels if column.type != "list<bool>" or len(labels) == 1}
    checked = 0
    for made in labeler.label(_samples(task, source), chance_for(0, task.name), 1):
        if isinstance(made, Rows) and len(made.rows):
            rows = made.batch(schema)
            checked += len(rows)
            for name in missed:
                false = [{**row, name: _another(row[name])} for row in rows.to_pylist()]
                faults = labeler.check_rows(pa.RecordBatch.from_pylist(false, rows.schema), made.source)
                missed[name] += sum(fault is None for fault in faults)
    for name, count in missed.items():
        require(
            count <= checked / 2,
            f"check_row finds no fault in {count} of {checked} rows with a false {name!r}; let it undo the label, and "
            "compare with the source",
        )


def _another(label: Any) -> Any:
    """Return a label that differs; of a list, its first value differs."""
    if isinstance(label, list):
        return [_another(label[0]), *label[1:]] if label else [0]
    return not label if isinstance(label, bool) else 1 - label if label in (0, 1) else label - 1


def _samples(task: Task, source: Path) -> Iterator[Sample]:
    """Yield the samples of the files of a folder."""
    reader = task.reader()
    files = [path for path in sorted(source.rglob("*.*")) if path.is_file()]
    extents = [extent for path in files for extent in reader.scan(path.name, str(path), path.stat().st_size)]
    yield from (item for item in reader.read(extents, splits(0)[0]) if isinstance(item, Sample))


def _read_only(sample: Sample) -> Sample:
    """Return the sample with its arrays read-only."""
    for array in _arrays(sample.payload):
        array.flags.writeable = False
    return sample


def _arrays(payload: Any) -> Iterator[np.ndarray]:
    if isinstance(payload, np.ndarray):
        yield payload
    elif isinstance(payload, tuple):
        for part in payload:
            yield from _arrays(part)
