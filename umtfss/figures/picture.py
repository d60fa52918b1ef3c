"""Pictures on disk."""

from pathlib import Path

from matplotlib.figure import Figure

from umtfss.common.files import atomic_path

DPI = 150


def save_picture(figure: Figure, path: str | Path) -> None:
    """Write the picture atomically, without a time stamp, so equal pictures give equal bytes."""
    with atomic_path(path) as temporary:
        metadata = {"Software": None} if Path(path).suffix == ".png" else None
        figure.savefig(temporary, dpi=DPI, metadata=metadata)
