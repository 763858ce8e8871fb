// Several ranks in one launch, as on a GPU that they share: which block does whose part, and a rank
// that rests needs one block only.
#include <allfold/allfold.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <vector>

#include "support/blocks.hpp"

namespace {

namespace device = allfold::device;
using allfold::direct;
using allfold::primary;

constexpr std::size_t count = 1009;
constexpr std::size_t slot_words = 1024;

/// The memory of ranks that one launch runs.
class ranks {
 public:
  ranks(int size, int lanes) : lanes_{lanes}, data_(at(size)), scratch_(at(size)) {
    all_.size = size;
    all_.slot_words = slot_words;
    all_.failure = &report_;
    all_.patience = 20'000'000'000;
    states_.resize(at(size * lanes));
    slots_.resize(at(size), std::vector<std::uint64_t>(2 * at(size) * slot_words));
    for (int rank = 0; rank < size; ++rank) {
      all_.states[rank] = &states_[at(rank * lanes)];
      all_.slots[rank] = slots_[at(rank)].data();
      data_[at(rank)].resize(count);
      scratch_[at(rank)].resize(2 * count);
    }
  }

  /// A launch of the ranks from `first` to before `last`.
  template <class Schedule>
  device::launch<Schedule, allfold::sum> told(int first, int last) {
    const Schedule plan{};
    const allfold::partition parts{count, plan.chunks(all_.size), 1, 16};
    device::launch<Schedule, allfold::sum> it{
        {plan, {}, parts, {}, device::slice_granule<int>, 42, 0}, all_, lanes_, 0, 0, {}};
    for (int rank = first; rank < last; ++rank)
      device::seat(
          it, {rank, bytes(data_[at(rank)]), bytes(data_[at(rank)]), bytes(scratch_[at(rank)])});
    return it;
  }
  /// Folds in place, `rounds` times with the same counters.
  template <class Schedule>
  void fold(int threads, int rounds) {
    for (int round = 0; round < rounds; ++round) {
      for (int rank = 0; rank < all_.size; ++rank)
        std::iota(data_[at(rank)].begin(), data_[at(rank)].end(), 1000 * rank + round);
      REQUIRE(test::run_blocks<int>(told<Schedule>(0, all_.size), threads));
      for (const std::vector<int>& each : data_)
        for (std::size_t i = 0; i < count; ++i)
          REQUIRE(each[i] ==
                  500 * all_.size * (all_.size - 1) + all_.size * (static_cast<int>(i) + round));
    }
  }

 private:
  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }
  static std::byte* bytes(std::vector<int>& from) {
    return reinterpret_cast<std::byte*>(from.data());
  }

  int lanes_;
  std::vector<std::vector<int>> data_, scratch_;
  std::vector<device::lane_state> states_;
  std::vector<std::vector<std::uint64_t>> slots_;
  device::failure_report report_{};
  device::group all_{};
};

template <class Schedule>
void check_folds(int size) {
  for (const test::grid shape : {test::grid{1, 3}, test::grid{3, 1}, test::grid{4, 5}}) {
    INFO(Schedule::name, ", ", size, " ranks, ", shape.lanes, " lanes of ", shape.threads);
    ranks{size, shape.lanes}.fold<Schedule>(shape.threads, 6);
  }
}

}  // namespace

TEST_CASE("ranks that share a launch fold as if they were alone") {
  for (const int size : {1, 2, 3, 5}) {
    check_folds<direct>(size);
    check_folds<allfold::ring>(size);
    check_folds<allfold::one_shot>(size);
    check_folds<primary<0>>(size);
  }
  check_folds<primary<2>>(3);
  check_folds<primary<1>>(5);
}

TEST_CASE("who rests, and how many blocks that leaves to the others") {
  CHECK(device::rests(primary<1>{}, 0, 3));
  CHECK(!device::rests(primary<1>{}, 1, 3));
  CHECK(device::rests(direct::barrier{}, 0, 3));
  CHECK(!device::rests(direct{}, 2, 3));
  CHECK(!device::rests(allfold::tree{}, 2, 3));
  ranks eight{8, 7};
  CHECK(device::blocks_of(eight.told<direct>(0, 8)) == 8 * 7);
  CHECK(device::blocks_of(eight.told<primary<5>>(0, 8)) == 7 + 7);
  CHECK(device::blocks_of(eight.told<primary<5>>(0, 5)) == 5);  // on another device than the root
  const auto told = eight.told<primary<5>>(3, 7);
  CHECK(told.resting == 3);
  CHECK(told.members[3].rank == 5);
}
