"""Types that all packages share: samples, errors, random number generators, columns, options and display pieces."""

from pseudolabel.contracts.display import (
    Fact,
    MarkedText,
    Picture,
    Piece,
    Span,
    Tiles,
    Wave,
    escape_controls,
    first_paragraph,
    number_of,
    one_line,
    shorten,
    size_text,
    some_of,
)
from pseudolabel.contracts.errors import (
    FilteredSample,
    SampleError,
    Skipped,
    T,
    UnusableSample,
    UserError,
    decoding_errors,
    did_you_mean,
    or_skipped,
    split_remedy,
)
from pseudolabel.contracts.options import (
    KEEP_HELP,
    Engine,
    Options,
    RunOptions,
    check_option,
    share_or_count,
    usable_cores,
    whole_number,
)
from pseudolabel.contracts.randomness import Chance, Split, chance_for, hash64, splits
from pseudolabel.contracts.sample import MEGABYTE, Extent, Sample, file_of
from pseudolabel.contracts.schema import COPY, IGNORE_INDEX, KEY, Column, arrow_schema
