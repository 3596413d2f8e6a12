"""Every bad input of the command line, through the real command: one `error:` line, exit 2, nothing on disk changed."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest_cli import TINY, Outcome, fingerprint, images, resnets
