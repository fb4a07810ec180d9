"""Placeholders: what a clone without its large files, or a download that failed, leaves under the name of a file."""

from __future__ import annotations

import re

from pseudolabel.contracts import UnusableSample

REASONS = {
    rb"version https?://[^\n]{1,80}/spec/v1\n(?:ext[^\n]*\n)*oid ": (
        "a pointer of Git LFS, not the file itself; run git lfs pull"
    ),
    rb"/annex/objects/": "a pointer of git-annex, not the file itself; run git annex get",
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)[\s>]": (
        "an HTML page, such as the error page of a download; download the file again, or convert the page to text"
    ),
    rb"(?:<\?xml[^>]*>\s*)?<Error>\s*<Code>": "the error message of a store, not the file itself; download it again",
}
PATTERNS = {re.compile(start, re.DOTALL | re.IGNORECASE): reason for start, reason in REASONS.items()}
FIRST = (b"v", b"/", b"<", b"\xef\xbb\xbf", b" ", b"\t", b"\r", b"\n")  # what no format of media begins with
HEAD_BYTES = 4096


class PlaceholderFile(UnusableSample):
    """A file that is a placeholder for another file."""


def refuse_placeholder(head: bytes) -> None:
    """Raise `PlaceholderFile` if the first bytes of a file are those of a placeholder."""
    if head.startswith(FIRST):
        for pattern, reason in PATTERNS.items():
            if pattern.match(head[:HEAD_BYTES]):
                raise PlaceholderFile(reason)
