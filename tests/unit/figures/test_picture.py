"""Pictures on disk."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from umtfss.figures.picture import save_png_and_pdf


def figure() -> Figure:
    """A photo placed by pixels, as in the gallery, and a title."""
    made = Figure(figsize=(3, 2))
    gradient = np.linspace(0, 255, 100 * 150).reshape(100, 150).astype(np.uint8)
    made.figimage(np.dstack([gradient, 255 - gradient, gradient // 2]), xo=40, yo=60)
    made.text(0.2, 0.1, "Title")
    return made


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_png_and_pdf(figure(), tmp_path / name, dpi=100)
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert not any(
        one in (tmp_path / "a.pdf").read_bytes() for one in (b"/Type3", b"/CreationDate")
    )


# Nothing of the project needs poppler, and no pinned package draws PDF files.
@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="poppler-utils draw PDF files")
def test_the_pdf_shows_what_the_png_shows(tmp_path: Path) -> None:
    save_png_and_pdf(figure(), tmp_path / "a.png", dpi=100)
    command = ["pdftoppm", "-r", "100", "-png", "-singlefile", tmp_path / "a.pdf", tmp_path / "pdf"]
    subprocess.run(command, check=True)
    png, pdf = (
        np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(float)
        for name in ("a.png", "pdf.png")
    )
    assert png.shape == pdf.shape
    assert np.abs(png - pdf).mean() < 3
