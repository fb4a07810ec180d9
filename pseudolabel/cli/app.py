"""Entry point of the command line. It installs the signal handlers before the imports, which take a while."""

from __future__ import annotations

import sys
from typing import NoReturn

from pseudolabel.cli.signals import Interrupted, fail, raise_on_signals

WITHOUT_WORKERS = {"tasks", "show", "describe", "audit", "preview", "export", "finish"}  # commands
IMPORTS = {  # command -> modules that only its workers import, and that start no thread
    "mask-audio": ("scipy.fft", "soundfile"),
    **dict.fromkeys(("mask-text", "corrupt-spans", "order-sentences"), ("pyarrow.compute", "tokenizers")),
    **dict.fromkeys(("arrow-of-time", "mask-tubes", "predict-pace", "shuffle-clips", "shuffle-frames"), ("av",)),
}
NOTHING_TO_DO = {"--help", "--dry-run"}  # options with which a command starts no worker


def main() -> NoReturn:
    """Run the command line and exit with its code. After a signal, also one during imports, print only a message."""
    try:
        raise_on_signals()
        command, options = sys.argv[1:2], sys.argv[2:]
        if options and WITHOUT_WORKERS.isdisjoint(command) and NOTHING_TO_DO.isdisjoint(options):
            from pseudolabel.engine.pools.processes import start_server

            start_server(IMPORTS.get(command[0], ()))  # it imports for the workers meanwhile, on another core
        from pseudolabel.cli.program import execute

        code = execute()
    except Interrupted as signalled:
        code = fail("interrupted", "run the same command again to finish", signalled.code)
    sys.exit(code)
