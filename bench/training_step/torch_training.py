"""The perceptron of examples/fashion_mnist, its optimizer and its data, by PyTorch."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import hashlib
import math
import os
import pathlib
import re
import statistics
import time

import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

# examples/fashion_mnist and trainee.hpp have the same.
WIDTHS = (784, 512, 256, 10)
RATE, MOMENTUM, SEED, FEW_STEPS = 0.02, 0.9, 1, 10
MEAN, DEVIATION = 0.2860, 0.3530
WARM_UP = 2  # steps at first: others have had the caches


def about() -> str:
    """Which BLAS it is shows once it is loaded."""
    maps = pathlib.Path("/proc/self/maps")
    found = re.findall(r"/(lib[^/\s]*(?:blas|mkl_core|blis)[^/\s]*)\n",
                       maps.read_text() if maps.exists() else "")
    return f"{torch.__version__}, matrices multiplied by {found[0] if found else 'its own code'}"


def _read(name: str, head: int) -> torch.Tensor:
    path = pathlib.Path(os.environ["FASHION_MNIST"]) / f"train-{name}-ubyte.gz"
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8, offset=head)


class Data:
    def __init__(self) -> None:
        self.images = _read("images-idx3", 16).view(-1, WIDTHS[0])
        self.labels = _read("labels-idx1", 8).long()

    def gather(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bytes until here, as in the example."""
        images = self.images.index_select(0, samples).float()
        images.mul_(1 / (255 * DEVIATION)).add_(-MEAN / DEVIATION)
        return images, self.labels.index_select(0, samples)


def perceptron() -> nn.Sequential:
    """With the weights that trainee.hpp draws; there they lie column by column."""
    generator = torch.Generator().manual_seed(SEED)
    layers: list[nn.Module] = []
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        layer = nn.Linear(inputs, outputs)
        bound = math.sqrt(6 / inputs)
        with torch.no_grad():
            drawn = torch.rand(inputs, outputs, generator=generator)
            layer.weight.copy_(drawn.mul_(2 * bound).sub_(bound).t())
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Trainee:
    """A model, and what came of it. `way` is together, or apart: without any reduction."""

    def __init__(self, data: Data, rank: int, ranks: int, per_batch: int, way: str) -> None:
        self.data, self.per_batch, self.epoch, self.losses = data, per_batch, 0, []
        self.sampler = DistributedSampler(data.labels, ranks, rank, shuffle=True, seed=SEED)
        self.model = DistributedDataParallel(perceptron())
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE, momentum=MOMENTUM)
        self.reduction = {"together": contextlib.nullcontext, "apart": self.model.no_sync}[way]
        self.batches = self._batches()

    def _batches(self) -> list[torch.Tensor]:
        """The last one first."""
        self.sampler.set_epoch(self.epoch)
        samples = torch.tensor(list(self.sampler))
        whole = len(samples) // self.per_batch * self.per_batch
        return list(samples[:whole].split(self.per_batch))[::-1]

    def reserve(self, batches: int) -> None:
        """An epoch is shuffled while no clock runs."""
        if batches > len(self.batches):
            self.epoch += 1
            self.batches = self._batches()
        if batches > len(self.batches):
            raise ValueError(f"an epoch has {len(self.batches)} batches on this rank: "
                             "too few for one turn")

    def step(self) -> None:
        images, labels = self.data.gather(self.batches.pop())
        self.optimizer.zero_grad(set_to_none=True)
        with self.reduction():
            loss = cross_entropy(self.model(images), labels)
            loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())

    def microseconds(self, steps: int) -> float:
        """Of a step on the rank that takes longest. Ranks begin together."""
        self.reserve(WARM_UP + steps)
        for _ in range(WARM_UP):
            self.step()
        distributed.barrier()
        begin = time.perf_counter()
        for _ in range(steps):
            self.step()
        us = torch.tensor(1e6 * (time.perf_counter() - begin) / steps, dtype=torch.float64)
        distributed.all_reduce(us, op=distributed.ReduceOp.MAX)
        return us.item()

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for each in self.model.parameters():
            digest.update(each.detach().numpy().tobytes())
        return digest.hexdigest()[:16]


class Server:
    """One rank: answers orders as allfold.cpp does."""

    def __init__(self, rank: int, ranks: int, meeting_point: str) -> None:
        torch.set_num_threads(1)
        self.rank, self.ranks, self.data = rank, ranks, Data()
        self.trainees: dict[tuple[str, str, str], Trainee] = {}
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=ranks,
            timeout=datetime.timedelta(days=1))

    def carry_out(self, words: list[str]) -> str:
        orders = {"work": self.work, "turn": self.turn, "state": self.state}
        return orders[words[0]](*words[1:])

    def work(self, *_) -> str:
        parameters = list(perceptron().parameters())
        count = sum(each.numel() for each in parameters)
        size = sum(each.numel() * each.element_size() for each in parameters)
        return f"parameters={count} gradient_bytes={size} images={len(self.data.labels)}"

    def turn(self, contender: str, per_batch: str, steps: str, *ways: str) -> str:
        found = [self.find(contender, per_batch, way).microseconds(int(steps)) for way in ways]
        return " ".join(f"{us:.9g}" for us in found)

    def state(self, contender: str, per_batch: str, way: str) -> str:
        it = self.find(contender, per_batch, way)
        early, late = it.losses[:FEW_STEPS], it.losses[-FEW_STEPS:]
        found: list[str] = [""] * self.ranks
        distributed.all_gather_object(found, it.fingerprint())
        return (f"{len(it.losses)} {statistics.fmean(early):.9g} {statistics.fmean(late):.9g} "
                + " ".join(found))

    def find(self, contender: str, per_batch: str, way: str) -> Trainee:
        """Made at its first turn, by all ranks."""
        if contender != "DDP":
            raise ValueError(f"no contender: {contender}")
        key = (contender, per_batch, way)
        if key not in self.trainees:
            self.trainees[key] = Trainee(self.data, self.rank, self.ranks, int(per_batch), way)
        return self.trainees[key]
