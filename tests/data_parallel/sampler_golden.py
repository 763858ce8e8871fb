"""Writes sampler_golden.hpp, what PyTorch itself answers:

    python3 sampler_golden.py > sampler_golden.hpp
"""

import torch
from torch.utils.data.distributed import DistributedSampler

LENGTHS = [0, 1, 2, 3, 7, 10, 64, 100, 1001, 59999]
RANKS = [1, 2, 3, 4, 5, 8]
# Seed and epoch; the last one, of which PyTorch reads the low 32 bits alone, carries into them.
SHUFFLES = [(0, 0), (0, 1), (1, 0), (42, 7), (2**32 + 5, 2), (2**63 + 11, 3), (2**32 - 1, 1)]
SHORT = [(1, 3), (2, 5), (3, 2), (3, 8), (7, 2), (7, 4), (10, 3), (10, 4)]  # length and ranks


class Numbers:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


def indices(length, ranks, rank, seed, epoch, shuffle, drop_last):
    sampler = DistributedSampler(Numbers(length), num_replicas=ranks, rank=rank, seed=seed,
                                 shuffle=shuffle, drop_last=drop_last)
    sampler.set_epoch(epoch)
    taken = list(sampler)
    assert len(taken) == len(sampler)
    return taken


def fnv(numbers, value=0x811C9DC5):
    """FNV-1a, 32 bits, over 32-bit words: http://www.isthe.com/chongo/tech/comp/fnv/"""
    for number in numbers:
        for shift in (0, 8, 16, 24):
            value = (value ^ (number >> shift & 0xFF)) * 0x01000193 & 0xFFFFFFFF
    return value


def all_ranks(length, ranks, *options):
    """The hash of each rank's number of indices and its indices, in rank order."""
    value = fnv([])
    for rank in range(ranks):
        taken = indices(length, ranks, rank, *options)
        value = fnv([len(taken)] + taken, value)
    return value


def braces(items):
    return "{" + ", ".join(items) + "}"


def wide(length, seed):
    """randperm as PyTorch has it since 2.6 for lengths from 2**32 / 20 on, too long for a test,
    here at a short one: the algorithm is written out, the 64-bit draws are PyTorch's."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.empty(length, dtype=torch.int64).random_(-2**63, None, generator=generator)
    order = []
    for i, draw in enumerate(draws.tolist()):
        other = draw % 2**64 % (i + 1)
        order.append(i)
        order[i] = order[other]
        order[other] = i
    assert sorted(order) == list(range(length))
    return order


print(f"""// Written by sampler_golden.py with PyTorch {torch.__version__}.
#pragma once

// clang-format off

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace golden {{

struct shuffle {{
  std::uint64_t seed, epoch;
}};

inline constexpr std::array<shuffle, {len(SHUFFLES)}> shuffles{{{{""")
for seed, epoch in SHUFFLES:
    print(f"    {{{seed}u, {epoch}u}},")
print(f"""}}}};

// The hashes of all ranks' indices: in the data set's order, then for each of the shuffles.
struct hashes {{
  std::size_t length;
  int ranks;
  bool drop_last;
  std::uint32_t in_order;
  std::array<std::uint32_t, {len(SHUFFLES)}> shuffled;
}};

inline constexpr hashes all[] = {{""")
for length in LENGTHS:
    for ranks in RANKS:
        for drop_last in (False, True):
            first = all_ranks(length, ranks, 0, 0, False, drop_last)
            rest = [all_ranks(length, ranks, seed, epoch, True, drop_last)
                    for seed, epoch in SHUFFLES]
            head = f"    {{{length}, {ranks}, {str(drop_last).lower()}, {first:#x}u,\n     {{"
            print(head + "{" + ", ".join(f"{value:#x}u" for value in rest) + "}}},")
print("""};

// Every rank's indices.
struct vectors {
  std::size_t length;
  int ranks;
  shuffle with;
  bool drop_last;
  std::vector<std::vector<std::size_t>> indices;
};

inline const vectors in_full[] = {""")
for length, ranks in SHORT:
    for drop_last in (False, True):
        for seed, epoch in (SHUFFLES[0], SHUFFLES[4]):
            rows = [indices(length, ranks, rank, seed, epoch, True, drop_last)
                    for rank in range(ranks)]
            print(f"    {{{length}, {ranks}, {{{seed}u, {epoch}u}}, {str(drop_last).lower()},\n"
                  f"     {braces(braces(map(str, row)) for row in rows)}}},")
print("""};

// The long algorithm of randperm, its draws PyTorch's, at a short length.
inline const std::vector<std::size_t> wide_order_of_20_seed_7 =""")
print("    " + braces(map(str, wide(20, 7))) + ";")
print(f"""inline constexpr std::uint32_t wide_hash_of_1001_seed_7 = {fnv(wide(1001, 7)):#x}u;

}}  // namespace golden""")
