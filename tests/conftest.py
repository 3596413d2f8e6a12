"""What holds for the whole suite: its order, and one thread for every process."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a pool of threads would hang forked processes

import charts
import pytest
import torch

LONGEST = ("test_readme.py", "test_docs.py", "test_memory.py", "test_images.py", "test_cam.py", "test_running.py")


def pytest_collection_modifyitems(items):
    """Modules of few, long tests come first: whole modules go to the processes, which should end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The tests share the machine, and their networks are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_charts():
    """See `charts.left_out`."""
    with charts.left_out():
        yield
