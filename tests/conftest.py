"""The order of the suite."""

LONGEST = ("test_readme.py", "test_docs.py", "test_memory.py", "test_images.py", "test_cam.py", "test_inspect.py")


def pytest_collection_modifyitems(items):
    """Modules of few, long tests come first: whole modules go to the processes, which should end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
