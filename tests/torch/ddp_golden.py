"""Writes ddp_golden.hpp: what PyTorch's DistributedDataParallel trains two small modules to.

    python3 tests/torch/ddp_golden.py > tests/torch/ddp_golden.hpp

Needs PyTorch with gloo (Debian: python3-torch). Data and first weights are formulas, which
modules.hpp repeats.
"""

import math
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

STEPS = 20


def waves(shape, first, step):
    count = math.prod(shape)
    return torch.tensor([math.cos(first + step * i) for i in range(count)]).reshape(shape)


def fill(module):
    with torch.no_grad():
        for number, each in enumerate(module.parameters()):
            each.copy_(0.3 * waves(each.shape, number + 1, 1.1))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)
        self.gate = nn.Parameter(torch.zeros(3))
        fill(self)

    def forward(self, x, with_gate):
        y = self.second(torch.tanh(self.first(x)))
        return y * (1 + self.gate) if with_gate else y


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.last = nn.Linear(48, 3)
        fill(self)

    def forward(self, x):
        return self.last(functional.relu(self.norm(self.convolution(x))).flatten(1))


def loss_of(ddp, case, rank, step):
    if case in ("gated", "unused"):
        # unused: the gate is used by rank 0 in even steps, and by nobody in odd ones
        with_gate = case == "gated" or (rank == 0 and step % 2 == 0)
        y = ddp(waves((6, 4), 10.0 * rank + 0.1 * step, 0.7), with_gate)
        return functional.mse_loss(y, waves((6, 3), 5.0 * rank - 0.2 * step, 0.4))
    y = ddp(waves((4, 1, 6, 6), 10.0 * rank + 0.1 * step, 0.7))
    return functional.cross_entropy(y, torch.tensor([(rank + step + i) % 3 for i in range(4)]))


def flat(tensors):
    return [float(value) for each in tensors for value in each.detach().flatten()]


def train(rank, ranks, case, path, results):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=ranks)
    torch.set_num_threads(1)
    module = Gated() if case in ("gated", "unused") else Convolutional()
    ddp = DistributedDataParallel(module, find_unused_parameters=case == "unused")
    if case == "adamw":
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.01)
    else:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=case == "unused")
        loss = loss_of(ddp, case, rank, step)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    if rank == 0:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        results.append(losses)
        results.append(flat(module.parameters()))
        results.append(flat(gradients))
        results.append(flat(module.buffers()))
    dist.barrier()
    dist.destroy_process_group()


def literals(values):
    return "{" + ", ".join(f"{value:.9g}" for value in values) + "}"


def main():
    print("// Written by ddp_golden.py with PyTorch " + torch.__version__ + ".")
    print("#pragma once\n\n#include <vector>\n\nnamespace ddp_golden {\n")
    print(f"inline constexpr int steps = {STEPS};\n")
    print("/// What rank 0 has at the end: of each kind all, in the order of the module, and the loss")
    print("/// of each of its steps.")
    print("struct outcome {\n  const char* name;\n  int ranks;")
    print("  std::vector<double> losses, parameters, gradients, buffers;\n};\n")
    print("inline const std::vector<outcome> outcomes{")
    for case in ("gated", "unused", "convolutional", "adamw"):
        for ranks in (2, 3):
            with tempfile.TemporaryDirectory() as folder, mp.Manager() as manager:
                results = manager.list()
                mp.spawn(train, (ranks, case, folder + "/meet", results), nprocs=ranks)
                numbers = ",\n     ".join(literals(each) for each in results)
            print(f'    {{"{case}", {ranks},\n     {numbers}}},')
    print("};\n\n}  // namespace ddp_golden")


if __name__ == "__main__":
    main()
