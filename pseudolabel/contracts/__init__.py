"""What every room shares: the nouns, the errors, the chance, columns, options and what a row is displayed with."""

from pseudolabel.contracts.display import Fact, Picture, Piece, Span, Tiles, Wave, Written, plain, short
from pseudolabel.contracts.errors import Filtered, Refused, Skipped, T, Unusable, attempt, blamed, one_of
from pseudolabel.contracts.options import KEEP_HELP, Engine, RunOptions, check, share_or_count
from pseudolabel.contracts.randomness import Chance, chance_for, hash64
from pseudolabel.contracts.sample import MEGABYTE, Extent, Sample, Split, file_of, splits
from pseudolabel.contracts.schema import COPY, KEY, UNTOLD, Column, arrow_schema

__all__ = [
    "COPY",
    "KEEP_HELP",
    "KEY",
    "MEGABYTE",
    "UNTOLD",
    "Chance",
    "Column",
    "Engine",
    "Extent",
    "Fact",
    "Filtered",
    "Picture",
    "Piece",
    "Refused",
    "RunOptions",
    "Sample",
    "Skipped",
    "Span",
    "Split",
    "T",
    "Tiles",
    "Unusable",
    "Wave",
    "Written",
    "arrow_schema",
    "attempt",
    "blamed",
    "chance_for",
    "check",
    "file_of",
    "hash64",
    "one_of",
    "plain",
    "share_or_count",
    "short",
    "splits",
]
