"""Audit: guess the labels of rows from facts that need no understanding, and measure masks, rates and duplicates.

A label that a linear model or a shallow tree guesses above chance, for sources that the model was not shown, teaches a
network the same shortcut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from shlex import join

from pseudolabel.contracts import Skipped, UserError, file_of, or_skipped
from pseudolabel.inspection.audit.guess import MODELS, Rate, chance_of, guess, holm, require_models
from pseudolabel.inspection.audit.measures import Measures
from pseudolabel.inspection.audit.media import items_of
from pseudolabel.inspection.audit.questions import Asker, Question, plain_label
from pseudolabel.inspection.audit.report import BY_METHOD, CLEAN, LEAKS, Answer, Report
from pseudolabel.inspection.audit.tables import Table, open_table

ROWS = 5000  # rows to read
LEVEL = 0.01  # of the p-value, corrected for the number of questions and models
MIN_EFFECT = 0.02  # by which a rate must lie above chance to count
MAX_ITEMS = 20_000  # media of all rows together, about: a minute or two
MIN_ROWS = 100  # rows to read, at least
MAX_REASONS = 12  # reasons for which rows were left out, the most frequent ones


def audit(what: str, rows: int = ROWS, inputs: Sequence[str] = (), labels: Sequence[str] = ()) -> Report:
    """Audit about `rows` rows of a dataset, of Parquet files, or of `package.module:loader`; fewer if rows are large.

    Raise `UserError` if scikit-learn is missing, or if there is nothing to audit.
    """
    require_models()
    table = open_table(what, inputs, labels)
    count = rows_to_read(table, rows)
    asker, measures = Asker(table.labels, count), Measures(table.labels)
    sources, left_out = set[str](), Counter[str]()
    for number, row in table.rows(count):
        nulls = [name for name in table.labels if plain_label(row[name]) is None]
        items = or_skipped(partial(items_of, row, table.inputs))
        if isinstance(items, Skipped) or len(nulls) == len(table.labels):
            left_out[items.reason if isinstance(items, Skipped) else f"`{nulls[0]}` is null"] += 1
            continue
        asker.ask(number, row, items)
        measures.add(row, items)
        sources.add(file_of(str(row.get("key", number))))
    if not measures.rows:
        why = f": {left_out.most_common(1)[0][0]}" if left_out else ""
        raise UserError(
            f"{what} has no row that can be audited{why}; give other --input and --label",
            3 if left_out else 5,
        )
    by_method = table.dataset.task.description.told_by(table.dataset.task) if table.dataset else {}
    options = [*(f"--input={name}" for name in inputs), *(f"--label={name}" for name in labels)]
    options += [f"--rows={rows}"] if rows != ROWS else []
    return Report(
        what,
        join(["pseudolabel", "audit", "DIR" if table.dataset else what, *options]),
        measures.rows,
        len(sources),
        list(answer(asker, by_method)),
        measures.coverage(),
        measures.rates(),
        measures.duplicates(),
        asker.not_asked(),
        dict(left_out.most_common(MAX_REASONS)),
        None if inputs or labels else table.dataset,
    )


def rows_to_read(table: Table, rows: int) -> int:
    """Return how many rows hold about MAX_ITEMS media, judged by the first row; at most `rows`."""
    items = or_skipped(partial(items_of, table.first, table.inputs))
    each = 1 if isinstance(items, Skipped) else sum(len(part) for parts in items.values() for part in parts)
    return min(rows, max(MIN_ROWS, MAX_ITEMS // max(1, each)))


def answer(asker: Asker, by_method: Mapping[str, str]) -> Iterator[Answer]:
    """Yield the answer to each question, by the better of the models."""
    found: list[tuple[Question, str, Rate, float]] = []
    for question, features, labels, sources in asker.questions():
        chance = chance_of(labels)
        found += [(question, name, guess(features, labels, sources, model), chance) for name, model in MODELS.items()]
    corrected = holm([rate.p_above(chance) for _, _, rate, chance in found])
    both = [*zip(found, corrected, strict=True)]
    for i in range(0, len(both), len(MODELS)):
        (question, model, rate, chance), p = min(both[i : i + len(MODELS)], key=lambda one: (one[1], -one[0][2].rate))
        above = p < LEVEL and rate.rate - chance >= MIN_EFFECT
        reason = by_method.get(question.facts, "") if above else ""
        verdict = CLEAN if not above else BY_METHOD if reason else LEAKS
        shares = (rate.rate, max(0.0, rate.low), min(1.0, rate.high), chance, p)
        one, low, high, of, corrected_p = (round(number, 4) for number in shares)
        yield Answer(question.label, question.facts, model, one, low, high, of, corrected_p, verdict, reason)
