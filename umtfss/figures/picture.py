"""Pictures on disk."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from umtfss.common.files import atomic_path

DPI = 150
# No time stamp, so that equal pictures give equal bytes.
METADATA = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}
TRUE_TYPE = 42  # publishers refuse Type 3 fonts


def save_picture(figure: Figure, path: str | Path, dpi: int = DPI) -> None:
    """Write the picture atomically.

    Args:
        figure: The picture.
        path: The file, `.png` or `.pdf`.
        dpi: Pixels per inch.
    """
    with matplotlib.rc_context({"pdf.fonttype": TRUE_TYPE}), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata=METADATA[Path(path).suffix])


def save_png_and_pdf(figure: Figure, path: str | Path, dpi: int = DPI) -> None:
    """Write the picture as PNG, and as PDF beside it.

    Args:
        figure: The picture.
        path: The `.png`.
        dpi: Pixels per inch of the PNG, and of photos in the PDF.
    """
    for suffix in METADATA:
        save_picture(figure, Path(path).with_suffix(suffix), dpi)
