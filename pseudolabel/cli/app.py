"""Entry point of the command line. It installs the signal handlers before the imports, which take a while."""

from __future__ import annotations

import sys
from typing import NoReturn

from pseudolabel.cli.signals import Interrupted, fail, raise_on_signals

WITHOUT_WORKERS = {"tasks", "show", "describe", "audit", "preview", "export", "finish", "--help", "--dry-run"}


def main() -> NoReturn:
    """Run the command line and exit with its code. After a signal, also one during imports, print only a message."""
    raise_on_signals()
    try:
        if sys.argv[2:] and WITHOUT_WORKERS.isdisjoint(sys.argv):  # import for the workers meanwhile, on another core
            from pseudolabel.engine.pools.processes import start_server

            start_server()
        from pseudolabel.cli.program import execute

        code = execute()
    except Interrupted as signalled:
        code = fail("interrupted; run the same command again to finish", signalled.code)
    sys.exit(code)
