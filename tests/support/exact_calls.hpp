// Collectives by every algorithm whose results are known to the last bit, for teams of which one
// wants to know whether they work.
#pragma once

#include <allfold/allfold.hpp>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace test {

/// What a rank brings at a place, in the collectives of a round.
inline std::uint32_t brought(int rank, std::size_t place, unsigned round) {
  std::uint32_t it = static_cast<std::uint32_t>(place) * 2654435761u + round * 40503u;
  it ^= static_cast<std::uint32_t>(rank + 1) * 2246822519u;
  return it ^ (it >> 15);
}
inline std::vector<std::uint32_t> brought_by(int rank, std::size_t count, unsigned round) {
  std::vector<std::uint32_t> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = brought(rank, i, round);
  return all;
}

/// Calls collectives of which each rank knows what must come out. Every rank of a team calls the
/// same. Throws std::logic_error if something else does.
template <class World>
class exact_calls {
  using numbers = std::vector<std::uint32_t>;

 public:
  exact_calls(World& world, std::size_t count, unsigned round)
      : world_{world}, count_{count}, round_{round} {}

  template <class Algorithm>
  void all_reduce() {
    numbers data = mine(count_);
    allfold::all_reduce<Algorithm>(world_, data);
    expect(data, sums(0, count_), "all_reduce", Algorithm::name);
  }
  template <class Algorithm>
  void reduce() {
    const int root = world_.size() - 1;
    numbers data = mine(count_);
    allfold::reduce<Algorithm>(world_, data, root);
    if (world_.rank() == root) expect(data, sums(0, count_), "reduce", Algorithm::name);
  }
  template <class Algorithm>
  void broadcast() {
    const int root = world_.size() / 2;
    numbers data = mine(count_);
    allfold::broadcast<Algorithm>(world_, data, root);
    expect(data, brought_by(root, count_, round_), "broadcast", Algorithm::name);
  }
  template <class Algorithm>
  void reduce_scatter() {
    const numbers data = mine(count_ * ranks());
    numbers part(count_);
    allfold::reduce_scatter<Algorithm>(world_, data, part);
    expect(part, sums(own() * count_, count_), "reduce_scatter", Algorithm::name);
  }
  template <class Algorithm>
  void all_gather() {
    numbers all(count_ * ranks()), expected;
    allfold::all_gather<Algorithm>(world_, mine(count_), all);
    for (int rank = 0; rank < world_.size(); ++rank)
      for (std::size_t i = 0; i < count_; ++i) expected.push_back(brought(rank, i, round_));
    expect(all, expected, "all_gather", Algorithm::name);
  }
  void all_to_all() {
    numbers data = mine(count_ * ranks()), expected;
    allfold::all_to_all(world_, data);
    for (int rank = 0; rank < world_.size(); ++rank)
      for (std::size_t i = 0; i < count_; ++i)
        expected.push_back(brought(rank, own() * count_ + i, round_));
    expect(data, expected, "all_to_all", "direct");
  }
  void all() {
    using namespace allfold;
    all_reduce<automatic>();
    all_reduce<direct>();
    all_reduce<ring>();
    all_reduce<tree>();
    all_reduce<halving_doubling>();
    all_reduce<primary<>>();
    reduce<direct>();
    reduce<tree>();
    broadcast<direct>();
    broadcast<ring>();
    broadcast<tree>();
    reduce_scatter<ring>();
    all_gather<ring>();
    all_gather<direct>();
    all_to_all();
    barrier(world_);
    barrier<dissemination>(world_);
  }

 private:
  std::size_t ranks() const { return static_cast<std::size_t>(world_.size()); }
  std::size_t own() const { return static_cast<std::size_t>(world_.rank()); }
  numbers mine(std::size_t count) const { return brought_by(world_.rank(), count, round_); }
  numbers sums(std::size_t from, std::size_t count) const {
    numbers all(count);
    for (int rank = 0; rank < world_.size(); ++rank)
      for (std::size_t i = 0; i < count; ++i) all[i] += brought(rank, from + i, round_);
    return all;
  }
  void expect(const numbers& found, const numbers& expected, const char* what,
              std::string_view algorithm) const {
    if (found == expected) return;
    throw std::logic_error{"a wrong result of " + std::string{what} + " by " +
                           std::string{algorithm} + " of " + std::to_string(count_) +
                           " elements on rank " + std::to_string(world_.rank()) + " of " +
                           std::to_string(world_.size())};
  }

  World& world_;
  std::size_t count_;
  unsigned round_;
};

/// All of them, short and long ones.
template <class World>
void require_exact_calls(World& world, unsigned round = 0) {
  for (const std::size_t count : {3u, 400u, 5000u}) exact_calls<World>{world, count, round}.all();
}

}  // namespace test
