"""Where a collection lies on disk, as the tests look for it."""


def folder_of(home, name="scans"):
    return home / "collections" / name


def generation_names(home):
    return sorted(path.name for path in (folder_of(home) / "generations").iterdir())
