// Jobs of all_reduce for a list of algorithms, element types and operations.
#pragma once

#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <vector>

#include "support/folding.hpp"

namespace fold_lists {

using allfold::direct;
using allfold::ring;
using allfold::tree;
using test::job;

/// What is folded, by what.
template <class Algorithm, class T, class Operation>
struct fold_of {
  using algorithm = Algorithm;
  using element = T;
  using operation = Operation;
};

/// Several counts on several numbers of ranks, in place and not: what differs between types is how
/// many fit a word, a packet or a cache line.
template <class Fold>
void try_fold(test::failures& list) {
  const auto what = test::all_reduce_by<typename Fold::algorithm, typename Fold::element,
                                        typename Fold::operation>();
  test::random_bits random{what.kind->size + what.operation.size()};
  for (const int ranks : {1, 2, 3, 5, 8}) {
    if (ranks < what.least_ranks) continue;
    std::vector<job> jobs;
    for (const std::size_t bytes : {1u, 100u, 5'000u, 16'384u, 17'000u, 300'001u})
      for (const bool in_place : {false, true})
        jobs.push_back(all_reduce_job(what, ranks, 1 + bytes / what.kind->size, in_place, random));
    carry_out(jobs, ranks, list);
  }
}

template <class... Folds>
void try_folds() {
  test::failures list;
  (try_fold<Folds>(list), ...);
  CHECK_NONE(list);
}

}  // namespace fold_lists
