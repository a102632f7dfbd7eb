"""Getting a data set: from mirrors, from a folder of one's own, or from what scikit-learn ships.

Apart from the modules that read a data set, so that a change here re-runs no training.
"""

from collections.abc import Iterable
from pathlib import Path

from cnnpipe.data.digits import digits_files
from cnnpipe.data.raw import write_raw
from cnnpipe.data.sources import from_torchvision, mnist
from cnnpipe.download.folder import read_folder
from cnnpipe.download.mirrors import fetch, mirrors_of
from cnnpipe.params.data import SourceParams


def download(params: SourceParams, folder: Path, *, mirror: str | None = None) -> None:
    """Fill `folder` with a data set: four decompressed idx files and dataset.json.

    Args:
        mirror: URL or folder asked before all others (CNNPIPE_MIRROR).

    Raises:
        SourcesUnreachable: no mirror gave the right content of some file.
        InputError: `mirror` is neither a folder nor a URL that can be read; or a file of one's own
            folder cannot be used.
    """
    files: Iterable[tuple[str, bytes]]
    classes = None
    if params.name == "folder":
        own = read_folder(Path(params.path), params.test)
        classes, files = own.classes, own.files.items()
    elif params.name == "digits":
        files = digits_files().items()
    else:
        source = mnist(params.mirrors) if params.name == "mnist" else from_torchvision(params.name)
        files = fetch(source, mirrors_of(source, mirror), params.timeout)
    write_raw(folder, params.name, files, classes)
