"""The dilated pyramid against convolutions written as loops."""

import torch

from umtfss.models.layers.dilated_pyramid import DilatedPyramid


@torch.no_grad()
def test_equals_a_loop_over_tokens() -> None:
    torch.manual_seed(0)
    pyramid = DilatedPyramid(3, [1, 2])
    grid, valid = torch.randn(2, 3, 6, 7), torch.zeros(2, 6, 7, dtype=torch.bool)
    valid[0, :4, :5] = valid[1] = True
    found = pyramid(grid, valid)
    for image, (height, width) in enumerate([(4, 5), (6, 7)]):
        own = grid[image, :, :height, :width]
        for row in range(height):
            for column in range(width):
                token = own[:, row, column]
                mean = pyramid.mean.weight[..., 0, 0] @ own.mean((1, 2)) + pyramid.mean.bias
                point = pyramid.point.weight[..., 0, 0] @ token + pyramid.point.bias
                parts = [mean, point]
                for dilation, branch in zip((1, 2), pyramid.dilated, strict=True):
                    total = branch.bias.clone()
                    for i in range(3):
                        for j in range(3):
                            y, x = row + (i - 1) * dilation, column + (j - 1) * dilation
                            if 0 <= y < height and 0 <= x < width:
                                total += branch.weight[:, :, i, j] @ own[:, y, x]
                    parts.append(total)
                expected = (pyramid.join.weight[..., 0, 0] @ torch.cat(parts).relu()).relu()
                torch.testing.assert_close(
                    found[image, :, row, column], expected, atol=1e-5, rtol=1e-5
                )


@torch.no_grad()
def test_an_image_of_padding_alone_is_finite() -> None:
    pyramid = DilatedPyramid(3, [1])
    assert pyramid(torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)).isfinite().all()
