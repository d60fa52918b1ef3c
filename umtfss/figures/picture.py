"""Pictures on disk."""

from pathlib import Path

from matplotlib.figure import Figure

from umtfss.common.files import atomic_path

DPI = 150


def save_picture(figure: Figure, path: str | Path) -> None:
    """Write the picture atomically, without the time, so that equal pictures are equal files."""
    with atomic_path(path) as temporary:
        metadata = {"Software": None} if Path(path).suffix == ".png" else None
        figure.savefig(temporary, dpi=DPI, metadata=metadata)
