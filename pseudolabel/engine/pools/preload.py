"""What the fork server imports; see `processes.py`. No other process imports this module."""

import os
import signal

import cv2  # noqa: F401
import PIL.Image  # noqa: F401
import pyarrow.parquet  # noqa: F401

import pseudolabel.engine.pools.local  # noqa: F401

# SIGINT has been blocked since the start of the server, else Ctrl-C ends it with a traceback. Drop one that came. From
# here on the server ignores Ctrl-C; its forks begin with the usual handler.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("PYTHONSAFEPATH", None)  # else a script that a fork starts finds no modules beside itself
