"""An image folder: which files lie in the folder of another class?

A thousand digits as PNG files, one sub-folder a class; a tenth of them were put into a wrong one. A small
CNN is trained on the folder as it is, self-influence ranks the files, and the explorer shows them. For
images of your own, replace `write_images` by the path of your folder.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.nn import Conv2d, Flatten, Linear, ReLU, Sequential
from torch.utils.data import DataLoader, Dataset

import headwater
from headwater import AttributionTask, Scores
from headwater.attributors import InfluenceFunction
from headwater.benchmark.datasets.mnist import load_mnist10
from headwater.benchmark.retraining import flip_labels
from headwater.curvature import MarginGaussNewton
from headwater.explorer import Split, Suspects
from headwater.solvers import Relative, Woodbury
from headwater.targets import cross_entropy, margin

DATA = Path(__file__).parents[1] / "data"


class ImageFolder(Dataset):
    """Images with the number of their sub-folder; torchvision.datasets.ImageFolder works the same."""

    def __init__(self, root):
        self.classes = sorted(folder.name for folder in root.iterdir())
        files = [sorted((root / name).glob("*.png")) for name in self.classes]
        self.samples = [(path, label) for label, each in enumerate(files) for path in each]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image, np.float32)[None] / 255), label


def write_images(root, images, folders):
    """Write each image as a PNG file into the folder of its class."""
    for number, (pixels, name) in enumerate(zip(images, folders, strict=True)):
        path = root / str(name) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.reshape(28, 28)).save(path)


torch.manual_seed(0)
first, second = Conv2d(1, 8, 3, stride=2, padding=1), Conv2d(8, 16, 3, stride=2, padding=1)
model = Sequential(first, ReLU(), second, ReLU(), Flatten(), Linear(16 * 7 * 7, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

with tempfile.TemporaryDirectory() as folder:
    root, mnist = Path(folder), load_mnist10(DATA / "mnist10.npz")
    names, flipped = flip_labels(mnist.train_labels[:1000], 0.1, n_classes=10, seed=0)
    write_images(root / "train", mnist.train_images[:1000], names)
    write_images(root / "test", mnist.test_images[:100], mnist.test_labels[:100])
    train, test = ImageFolder(root / "train"), ImageFolder(root / "test")

    for _ in range(5):  # stopped early: it does not yet know the wrong labels by heart
        for x, y in DataLoader(train, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    # Not shuffled: row i of the scores is file i.
    train_loader, test_loader = DataLoader(train, batch_size=250), DataLoader(test, batch_size=100)
    task = AttributionTask(model, cross_entropy, target=margin)
    method = InfluenceFunction(task, Woodbury(damping=Relative(4)), MarginGaussNewton())
    suspicion = method.cache(train_loader).self_influence(train_loader)
    paths = [path.relative_to(root).as_posix() for path, _ in train.samples]
    suspects = suspicion.argsort(descending=True).tolist()
    print("Look at these files first:", *(paths[i] for i in suspects[:10]), sep="\n  ")
    wrong = [bool(flipped[int(path.stem)]) for path, _ in train.samples]  # unknown in a real folder
    found = sum(wrong[i] for i in suspects[:100])
    print(f"{found} of the first 100 are in a wrong folder, {sum(wrong)} of all {len(train)} are")

    scores = method.attribute(train_loader, test_loader)
    (x, y), (x_test, y_test) = (next(iter(DataLoader(part, len(part)))) for part in (train, test))
    page = headwater.explore(
        Scores(scores, method="gauss-newton", function="margin", train_ids=paths),
        Split(x, y, predictions=model(x).argmax(1)),
        Split(x_test, y_test, predictions=model(x_test).argmax(1)),
        root / "explorer.html",  # name a place of your own: this one is gone at the end
        classes=train.classes,
        suspects=Suspects({"gauss-newton": suspicion}),
    )
    print(f"{page.name} has {page.stat().st_size / 1e6:.1f} MB, and all images that it shows")
