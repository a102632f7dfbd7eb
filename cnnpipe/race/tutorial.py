"""The common practice that the race is run against: a plain loop as most tutorials write it.

A DataLoader turns each image into a tensor, through torchvision's transforms; the network, its
optimiser and its schedule are those of PyTorch's own MNIST example (two 3×3 convolutions, one max
pooling, dropout, 128 hidden neurons; Adadelta). Torch's layers on purpose: besides
`cnnpipe.verify.reference` this is the only module that may use them. No stage uses it.

Axes: N batch, C channels, H height, W width.

Source: https://github.com/pytorch/examples/tree/main/mnist, whose settings these are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization

EPOCHS = 14
BATCH_SIZE = 64
LR = 1.0
GAMMA = 0.7
"""By which the learning rate is multiplied after each epoch."""
NORMALIZATION = Normalization(mean=0.1307, std=0.3081)
"""The two numbers that tutorials give for MNIST, used for every data set."""

SETTINGS = {
    "epochs": EPOCHS,
    "batch_size": BATCH_SIZE,
    "optimizer": "Adadelta",
    "lr": LR,
    "gamma": GAMMA,
    "workers": 0,
}


class Digits(Dataset[tuple[Tensor, int]]):
    """Stored images, each transformed when it is read."""

    def __init__(self, split: Split) -> None:
        from torchvision import transforms  # for a second, which tables of the results do not need

        self.images = split.images.numpy()
        self.labels = split.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Normalize((NORMALIZATION.mean,), (NORMALIZATION.std,)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def build_network() -> nn.Sequential:
    """1,199,882 parameters.

    Shape: (N, 1, 28, 28) → (N, 10).
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),  # (N, 32, 26, 26)
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),  # (N, 64, 24, 24)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 64, 12, 12)
        nn.Dropout(0.25),
        nn.Flatten(),  # (N, 9216)
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


def train_tutorial(
    network: nn.Module, training: Split, *, seed: int, epochs: int = EPOCHS
) -> Iterator[int]:
    """Train `network` on the device that holds it, and pause after each epoch.

    Args:
        network: freshly initialised. It is changed.
        training: on the CPU, as a DataLoader reads it.
        seed: of the order of the images and of dropout.
        epochs: at most; the caller may stop sooner.

    Yields:
        the number of the epoch that has just ended.
    """
    torch.manual_seed(seed)
    device = next(network.parameters()).device
    loader = DataLoader(Digits(training), batch_size=BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=LR)
    schedule = StepLR(optimizer, step_size=1, gamma=GAMMA)
    loss_function = nn.CrossEntropyLoss()
    for epoch in range(1, epochs + 1):
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_function(network(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        schedule.step()
        yield epoch
