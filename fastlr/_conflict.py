"""PyPI's distribution `fastlr` is another project that installs a package under the same import name."""

import os
import warnings


def warn_if_both_installed(package_dir: str) -> None:
    """Warn where the distribution `fastlr` lies beside this package, since each overwrites the other's files.

    Reads one directory listing: a search of all distributions would cost milliseconds at each import.

    Args:
        package_dir: the folder of the imported package, `os.path.dirname(fastlr.__file__)`.
    """
    try:
        names = os.listdir(os.path.dirname(package_dir))
    except OSError:  # imported from an archive, or from a folder that cannot be listed
        return
    for name in names:
        if name.startswith("fastlr-") and name.endswith((".dist-info", ".egg-info")):
            warnings.warn(
                f"another distribution with the import name fastlr is installed beside torch-fastlr: {name}. "
                "Run `pip uninstall fastlr torch-fastlr`, then `pip install torch-fastlr`.",
                RuntimeWarning,
                stacklevel=3,
            )
