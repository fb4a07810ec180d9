"""The imports of the fork server; see `processes.py`. No other process imports this module."""

import os
import signal

import cv2  # noqa: F401
import PIL.Image  # noqa: F401
import pyarrow.parquet  # noqa: F401

import pseudolabel.engine.pools.local  # noqa: F401

# SIGINT is blocked from the start of the server; otherwise Ctrl-C would end the server with a traceback. Discard a
# SIGINT that arrived meanwhile. From here on the server ignores Ctrl-C. Its forks start with the default handler.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("PYTHONSAFEPATH", None)  # else a script that a fork starts finds no modules beside itself
