"""Trains by PyTorch's DistributedDataParallel what torch_ddp trains, and compares every loss.

    python3 examples/torch_ddp/train.py PROGRAM [RANKS [EPOCHS [IMAGES [FOLDER]]]]

Needs PyTorch with gloo (Debian: python3-torch); says so and exits with 77 where there is none.
"""

import gzip
import subprocess
import sys
import tempfile

try:
    import torch
    import torch.distributed as dist
    import torch.multiprocessing as mp
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data.distributed import DistributedSampler
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

BATCH = 32  # of each rank
TOLERANCE = 2e-3


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 10))


def load(folder, limit):
    def read(name, header, count):
        with gzip.open(f"{folder}/train-{name}-ubyte.gz") as file:
            return torch.frombuffer(bytearray(file.read(header + count)[header:]),
                                    dtype=torch.uint8)
    labels = read("labels-idx1", 8, limit)
    return read("images-idx3", 16, len(labels) * 784).view(-1, 1, 28, 28), labels.long()


def train(rank, ranks, epochs, images, folder, path, losses):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=ranks)
    torch.set_num_threads(1)
    pictures, classes = load(folder, images)
    ddp = DistributedDataParallel(make_network())
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.9)
    sampler = DistributedSampler(classes, ranks, rank, shuffle=True, seed=0)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for which in torch.tensor(list(sampler)).split(BATCH):
            optimizer.zero_grad()
            batch = pictures[which].float().div(255).sub(0.2860).div(0.3530)
            loss = nn.functional.cross_entropy(ddp(batch), classes[which])
            loss.backward()
            optimizer.step()
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            if rank == 0:
                losses.append(float(mean) / ranks)
    dist.barrier()
    dist.destroy_process_group()


def main():
    program, *rest = sys.argv[1:]
    defaults = ["2", "1", "60000", "/usr/share/datasets/fashion-mnist"]
    rest += defaults[len(rest):]
    ran = subprocess.run([program, *rest], capture_output=True, text=True, check=False)
    print(ran.stdout[-200:], ran.stderr, sep="")
    if ran.returncode != 0:
        return ran.returncode
    with tempfile.TemporaryDirectory() as folder, mp.Manager() as manager:
        losses = manager.list()
        ranks, epochs, images = map(int, rest[:3])
        mp.spawn(train, (ranks, epochs, images, rest[3], folder + "/meet", losses), nprocs=ranks)
        expected = list(losses)
    for strategy in ("primary_device", "distributed"):
        found = [float(line.split()[2]) for line in ran.stdout.splitlines()
                 if line.startswith(strategy + " ")]
        if len(found) != len(expected):
            print(f"{strategy}: {len(found)} steps instead of {len(expected)}")
            return 1
        worst = max(abs(a - b) for a, b in zip(found, expected))
        print(f"{strategy}: {len(found)} steps, the losses differ from PyTorch's by {worst:.2g} "
              f"at most; the first is {found[0]:.4f}, the last {found[-1]:.4f}")
        if not worst <= TOLERANCE:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
