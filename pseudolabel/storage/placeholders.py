"""Placeholder files: a pointer of Git LFS or git-annex, or an error page that a download saved in place of the file."""

from __future__ import annotations

import re

from pseudolabel.contracts import UnusableSample

REASONS = {
    rb"version https?://[^\r\n]{1,80}/spec/v1\r?\n(?:ext[^\n]*\n)*oid ": (
        "a pointer of Git LFS, not the file itself; run git lfs pull"
    ),
    rb"/annex/objects/": "a pointer of git-annex, not the file itself; run git annex get",
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)[\s>]": (
        "an HTML page, such as the error page of a download; download the file again, or convert the page to text"
    ),
    rb"(?:<\?xml[^>]*>\s*)?<Error>\s*<Code>": "the error message of a store, not the file itself; download it again",
    # whole files, sent by raw.githubusercontent.com, a Go server or the Hub; by the API of GitHub or the Hub; by nginx
    rb"(?:404: Not Found|404 page not found|Entry not found)\s*\Z"
    rb"|\{\s*\"(?:message|error)\":\s*\"(?:(?:Entry|Repository) )?not found\"[^{}]{0,400}\}\s*\Z"
    rb"|<head><title>[45]\d\d [\w -]{1,40}</title></head>.{0,400}\Z": (
        "the error message of a download, not the file itself; download it again"
    ),
}
PATTERNS = {re.compile(start, re.DOTALL | re.IGNORECASE): reason for start, reason in REASONS.items()}
FIRST = (*(b"v", b"/", b"<", b"4", b"E", b"{", b" ", b"\t", b"\r", b"\n"), b"\xef\xbb\xbf")  # no media file begins so
HEAD_BYTES = 4096


class PlaceholderFile(UnusableSample):
    """A file that is a placeholder for another file."""


def refuse_placeholder(head: bytes) -> None:
    """Raise `PlaceholderFile` if the first bytes of a file are those of a placeholder."""
    if head.startswith(FIRST):
        for pattern, reason in PATTERNS.items():
            if pattern.match(head[:HEAD_BYTES]):
                raise PlaceholderFile(reason)
