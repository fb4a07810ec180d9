"""Progress of a run on standard error: a bar on a terminal, a line every 30 s elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pseudolabel.contracts import escape_controls

if TYPE_CHECKING:
    from tqdm import tqdm

    from pseudolabel.engine.pools import events

LINE_SECONDS = 30.0


class Progress:
    """A display of samples, rate, skipped samples, and time left, which is estimated from bytes."""

    def __init__(self, quiet: bool = False, unit: str = "samples", loss: str = "skipped or filtered") -> None:
        """`unit`: the plural of the counted things. `loss`: the word for those that are not used."""
        self._quiet, self._unit, self._loss = quiet, unit, loss
        self._weight = self._total = self._samples = self._skipped = 0
        self._open: dict[int, tuple[int, int, int]] = {}  # shard -> (samples, skipped, bytes) reported so far
        self._begun = self._said = time.monotonic()
        self._fresh = 0  # samples and bytes of this run only, for the rate and the time left
        self._fresh_weight = 0
        self._bar: tqdm[Any] | None = None

    def start(self, weight: int, records: Sequence[dict[str, Any] | None] = ()) -> None:
        """Start the count of `weight` bytes with the shards that are done already."""
        self._total = weight
        for record in records:
            if record is not None:
                self._weight += record["weight"]
                self._samples += record["seen"]
                self._skipped += record["skipped"] + record["filtered"]
        self._begun = self._said = time.monotonic()
        if not self._quiet and sys.stderr.isatty():
            from tqdm import tqdm

            form = "{percentage:3.0f}% |{bar}| {desc}"
            self._bar = tqdm(total=max(1, self._total), initial=self._weight, bar_format=form, leave=False)
        self._show()

    def add(self, event: events.Progressed) -> None:
        """Add a worker's report on an unfinished shard."""
        if event.job.kind in ("make", "check"):
            index = event.job.shard.index
            before = self._open.get(index, (0, 0, 0))
            # a validation split makes a second pass over the same bytes
            weight = min(before[2] + event.weight, event.job.shard.weight)
            self._open[index] = (before[0] + event.samples, before[1] + event.skipped, weight)
            self._show()

    def done(self, event: events.Done) -> None:
        """Replace the reports on a shard by the counts in its record, after its commit."""
        if event.job.kind == "make":
            left_out = event.result["skipped"] + event.result["filtered"]
            self.settle(event.job.shard.index, event.result["weight"], event.result["seen"], left_out)

    def settle(self, shard: int, weight: int, samples: int, skipped: int) -> None:
        """Add the final counts of a shard."""
        self._open.pop(shard, None)
        self._weight += weight
        self._samples += samples
        self._skipped += skipped
        self._fresh += samples
        self._fresh_weight += weight
        self._show()

    def lost(self, death: events.Died) -> None:
        """Drop the reports on the shard of a worker that died, and print a note."""
        self._open.pop(death.job.shard.index, None)
        if not death.job.trial:
            what = (death.status.key or death.status.extent) if death.status else death.job.kind
            self.note(f"a worker died on shard {death.job.shard.index}: {what} {death.reason}")

    def note(self, text: str) -> None:
        """Print a line of text."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.clear()
        print(escape_controls(text), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_description_str(self._line(now), refresh=False)
            self._bar.n = min(self._total, self._done())
            self._bar.refresh()
        elif now - self._said >= LINE_SECONDS:
            self._said = now
            print(f"{self._done() / max(1, self._total):.0%}, {self._line(now)}", file=sys.stderr, flush=True)

    def _done(self) -> int:
        return self._weight + sum(weight for _, _, weight in self._open.values())

    def _line(self, now: float) -> str:
        samples, skipped, weight = (sum(column) for column in zip((0, 0, 0), *self._open.values(), strict=True))
        passed = max(now - self._begun, 1e-3)
        speed = (self._fresh_weight + weight) / passed
        left = _clock((self._total - self._done()) / speed) if speed > 0 else "?"
        rate = (self._fresh + samples) / passed
        samples, skipped = self._samples + samples, self._skipped + skipped
        return f"{samples:,} {self._unit}, {rate:,.0f}/s, {skipped:,} {self._loss}, {left} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
