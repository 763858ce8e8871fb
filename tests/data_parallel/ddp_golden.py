"""Writes ddp_golden.hpp: what PyTorch's DistributedDataParallel trains a small perceptron to.

    python3 tests/data_parallel/ddp_golden.py > tests/data_parallel/ddp_golden.hpp

Needs PyTorch with gloo (Debian: python3-torch). Data and first weights are formulas, which
ddp.cpp repeats.
"""

import math
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel

STEPS, BATCH = 20, 4


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.gate = nn.Parameter(torch.zeros(3))
        self.second = nn.Linear(5, 3)
        with torch.no_grad():
            number = 0
            for each in (self.first.weight, self.first.bias, self.gate, self.second.weight,
                         self.second.bias):
                values = [0.3 * math.cos(1.1 * (number + k)) for k in range(each.numel())]
                each.copy_(torch.tensor(values).reshape(each.shape))
                number += each.numel()

    def forward(self, x, gated):
        y = self.second(torch.tanh(self.first(x)))
        return y * (1 + self.gate) if gated else y


def samples(first):
    ids = range(first, first + BATCH)
    x = torch.tensor([[math.sin(0.7 * s + 1.3 * i) for i in range(4)] for s in ids])
    target = torch.tensor([[math.cos(0.4 * s - 0.9 * i) for i in range(3)] for s in ids])
    return x, target


def train(rank, ranks, case, path, results):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=ranks)
    torch.set_num_threads(1)
    model = Perceptron()
    ddp = DistributedDataParallel(model, find_unused_parameters=case != "gated")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def backward(turn, gated):
        x, target = samples((turn * ranks + rank) * BATCH)
        ((ddp(x, gated) - target) ** 2).mean().backward()

    def step(number):
        optimizer.zero_grad(set_to_none=False)
        if case == "no_sync":
            with ddp.no_sync():
                backward(2 * number, True)
            backward(2 * number + 1, True)
        else:
            # unused: the gate is used by rank 0 in even steps, and by nobody in odd ones
            backward(number, case != "unused" or (rank == 0 and number % 2 == 0))
        optimizer.step()

    if case.startswith("join"):
        with Join([ddp], divide_by_initial_world_size=case == "join_initial"):
            for number in range(STEPS - 3 * rank):
                step(number)
    else:
        for number in range(STEPS):
            step(number)
    if rank == 0:
        results.extend([float(v) for p in model.parameters() for v in p.detach().flatten()])
    dist.barrier()
    dist.destroy_process_group()


def literal(value):
    text = f"{value:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def main():
    print("// Written by ddp_golden.py with PyTorch " + torch.__version__ + ".")
    print("#pragma once\n\n#include <vector>\n\nnamespace ddp_golden {\n")
    print("struct outcome {\n  const char* name;\n  int ranks;")
    print("  std::vector<float> parameters;\n};\n")
    print("/// Parameters in the order of the model: gate, first, second.")
    print("inline const std::vector<outcome> outcomes{")
    for case in ("gated", "no_sync", "join_initial", "join_live", "unused"):
        for ranks in (2, 3):
            with tempfile.TemporaryDirectory() as folder, mp.Manager() as manager:
                results = manager.list()
                mp.spawn(train, (ranks, case, folder + "/meet", results), nprocs=ranks)
                numbers = ", ".join(literal(value) for value in results)
            print(f'    {{"{case}", {ranks},\n     {{{numbers}}}}},')
    print("};\n\n}  // namespace ddp_golden")


if __name__ == "__main__":
    main()
