"""Images and masks of several data sets by their qualified id."""

from collections.abc import Mapping

import numpy as np

from umtfss.common.errors import DataError
from umtfss.data.dataset import Dataset


class Catalog:
    """Images and masks of several data sets by their qualified id.

    Args:
        datasets: Data set name -> data set.
    """

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self.datasets = dict(datasets)

    def image(self, qualified: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: The data set or the image is unknown, or the file is damaged.
        """
        dataset, image_id = self._find(qualified)
        return dataset.image(image_id)

    def mask(self, qualified: str) -> np.ndarray:
        """The class ids of an image, (H, W) uint8, 255 ignored.

        Raises:
            DataError: The data set or the mask is unknown, or the file is damaged.
        """
        dataset, image_id = self._find(qualified)
        return dataset.mask(image_id)

    def _find(self, qualified: str) -> tuple[Dataset, str]:
        name, _, image_id = qualified.partition("/")
        if name not in self.datasets or not image_id:
            raise DataError(
                f"no data set holds the image {qualified!r}",
                expected=f"<data set>/<image id> with a data set of {sorted(self.datasets)}",
                found=qualified,
                fix="open that data set, or delete the file that names the image and run again",
            )
        return self.datasets[name], image_id
