"""Puts forkserve.fork in the place of os.fork."""

import os
import posix

import forkserve

os.fork = posix.fork = forkserve.fork
