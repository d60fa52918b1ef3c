"""Assignment of every pixel to its nearest cluster centre.

Shapes: H W pixels of the original image, h w grid, C channels, N clusters.
"""

import numpy as np
import torch
import torch.nn.functional as F


def assign_pixels(
    tokens: np.ndarray,
    grid: tuple[int, int],
    centroids: np.ndarray,
    size: tuple[int, int],
    align_corners: bool,
) -> np.ndarray:
    """The nearest centre of every pixel, (H, W) uint8.

    The score of a token x and a centre c is 2 x.c - |c|^2; the centre nearest in L2 has the
    greatest score. Scores, not labels, are upsampled, so that borders between clusters are smooth.

    Args:
        tokens: (h * w, C) float32, L2-normalised, of the un-padded image.
        grid: (h, w).
        centroids: (N, C) float32, N <= 254.
        size: (H, W).
        align_corners: True: corner tokens lie on corner pixels (dilated ResNets). False: a token
            lies in the middle of its patch.
    """
    centres = torch.from_numpy(centroids)
    scores = 2 * torch.from_numpy(tokens) @ centres.T - centres.square().sum(1)
    # (1, N, h, w) in channels-last memory, so that interpolation and argmax run along N
    maps = scores.view(1, *grid, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=align_corners)
    return maps[0].permute(1, 2, 0).argmax(-1).to(torch.uint8).numpy()
