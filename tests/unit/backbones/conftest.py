"""Random networks in the official file formats."""

import pytest
import torch
from torchvision.models import resnet50


@pytest.fixture(scope="session")
def random_resnet() -> torch.nn.Module:
    """A ResNet-50 whose BatchNorm statistics are not those of a fresh network."""
    torch.manual_seed(0)
    network = resnet50()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return network.eval()


@pytest.fixture(scope="session")
def resnet_file(random_resnet, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(random_resnet.state_dict(), path)
    return str(path)
