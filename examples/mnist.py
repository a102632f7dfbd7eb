"""LeNet-5 on MNIST with this project's layers, from the download to the test set.

python examples/mnist.py [FOLDER]    FOLDER keeps the data; CNNPIPE_MIRROR is asked for it first
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn

from cnnpipe.data.dataset import load_dataset
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.data.raw import write_raw
from cnnpipe.data.sources import mnist
from cnnpipe.download.mirrors import fetch, mirrors_of
from cnnpipe.functional import cross_entropy
from cnnpipe.layers import Conv2d, Linear, MaxPool2d, ReLU, Sequential
from cnnpipe.models import predict

EPOCHS, BATCH_SIZE, LEARNING_RATE = 5, 128, 0.004
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/mnist")
if not (folder / "dataset.json").exists():
    source = mnist(["https://ossci-datasets.s3.amazonaws.com/mnist/"])
    mirrors = mirrors_of(source, os.environ.get("CNNPIPE_MIRROR"))
    write_raw(folder, "mnist", fetch(source, mirrors, timeout=20))
data = load_dataset(folder)
normalize = Normalization.of(data.train.images)  # (N, 28, 28) bytes → (N, 1, 28, 28)

torch.manual_seed(1)
model = Sequential(
    *(Conv2d(1, 6, 5, padding=2), ReLU(), MaxPool2d(2)),  # (N, 6, 14, 14)
    *(Conv2d(6, 16, 5), ReLU(), MaxPool2d(2)),  # (N, 16, 5, 5)
    *(Conv2d(16, 120, 5), ReLU(), nn.Flatten()),  # (N, 120)
    *(Linear(120, 84), ReLU(), Linear(84, 10)),  # (N, 10)
)
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
steps = EPOCHS * -(-len(data.train) // BATCH_SIZE)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
for epoch in range(1, EPOCHS + 1):
    for batch in torch.randperm(len(data.train)).split(BATCH_SIZE):
        loss = cross_entropy(model(normalize(data.train.images[batch])), data.train.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch} of {EPOCHS}: loss {loss.item():.4f}")
right = predict(model, data.test.images, normalize).argmax(1) == data.test.labels
print(f"{right.float().mean().item():.2%} of {len(right):,} test images are classified correctly")
