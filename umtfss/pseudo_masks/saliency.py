"""The salient region of a single image: a spectral cut of its own frozen tokens.

This is the pseudo-mask of MaskSplit (arXiv:2110.12207), without labels and without other images.
Shapes: H W pixels of the original image, h w grid, C channels, n = h * w tokens.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import eigh

SALIENT, REST = 0, 1  # labels of a pixel; only the salient region is stored
WEAK_LINK = 1e-5  # weight between dissimilar tokens, so that the graph is connected


def spectral_saliency(tokens: np.ndarray) -> np.ndarray:
    """The foreground score of every token, (h, w) float32: positive on the salient side.

    The tokens are split by a normalised cut, as in TokenCut (arXiv:2202.11539). Tokens are linked
    if their cosine is above a threshold. The eigenvector of the second smallest eigenvalue of the
    normalised Laplacian, split at its mean, cuts the graph at its weakest links. Two steps are our
    own. The threshold is the mean cosine of the image's tokens, which suits every backbone. The
    salient side is the side with the smaller share of its tokens on the image's border, because a
    photo's subject seldom touches the border.

    docs/history/accuracy_log.md reports other choices, tried on training images.

    Args:
        tokens: (h, w, C) float; zero tokens are similar to no other token.
    """
    height, width, channels = tokens.shape
    vectors = tokens.reshape(-1, channels).astype(np.float32)
    if len(vectors) < 2:
        return np.zeros((height, width), np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    cosine = (vectors @ vectors.T).astype(np.float64)  # (n, n)
    links = np.where(cosine > cosine.mean(), 1.0, WEAK_LINK)
    scale = links.sum(1) ** -0.5
    laplacian = np.eye(len(links)) - scale[:, None] * links * scale
    vector = eigh(laplacian, subset_by_index=[1, 1], overwrite_a=True, check_finite=False)[1][:, 0]
    score = (scale * vector).reshape(height, width)
    score -= score.mean()
    border = np.ones((height, width), bool)
    border[1:-1, 1:-1] = False
    shares = [border[side].mean() if side.any() else 1.0 for side in (score > 0, score < 0)]
    return (score if shares[0] <= shares[1] else -score).astype(np.float32)


def salient_pixels(
    tokens: np.ndarray, grid: tuple[int, int], size: tuple[int, int], align_corners: bool
) -> np.ndarray:
    """The label of every pixel, (H, W) uint8: `SALIENT` or `REST`.

    Scores, not labels, are upsampled, as in `assign_pixels`.

    Args:
        tokens: (h * w, C) float32, of the un-padded image.
        grid: (h, w).
        size: (H, W).
        align_corners: True: corner tokens lie on corner pixels (dilated ResNets). False: a token
            lies in the middle of its patch.
    """
    score = torch.from_numpy(spectral_saliency(tokens.reshape(*grid, -1)))[None, None]
    score = F.interpolate(score, size, mode="bilinear", align_corners=align_corners)
    return np.where(score[0, 0].numpy() > 0, SALIENT, REST).astype(np.uint8)
