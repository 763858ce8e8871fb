// Communicators with an engine of their own: every collective is handed to it, with all it needs.
#include <allfold/allfold.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <vector>

namespace {

using allfold::collective;
using allfold::native;

/// An engine for tests: it carries out what it is asked to by `direct` on threads, and keeps what
/// it was told.
class with_engine {
 public:
  static constexpr allfold::memory_space space = allfold::memory_space::host;
  static constexpr bool has_engine = true;

  explicit with_engine(allfold::threads::communicator& threads) : threads_{threads} {}
  int rank() const { return threads_.rank(); }
  int size() const { return threads_.size(); }
  void abort(const std::string& why) { threads_.abort(why); }

  template <collective What, class T, class Operation>
  void native(const allfold::engine_call<What, T>& it, const Operation& operation) {
    told = What;
    text = allfold::describe(it.said, 0);
    const auto n = static_cast<std::size_t>(size());
    const std::size_t whole = it.counts.empty() ? it.count * n : it.count;
    const std::size_t mine =
        it.counts.empty() ? it.count : it.counts[static_cast<std::size_t>(rank())];
    const auto given = [&](std::size_t count) { return std::span<const T>{it.input, count}; };
    const auto got = [&](std::size_t count) { return std::span<T>{it.output, count}; };
    const bool root = rank() == it.root;
    const bool even = it.counts.empty();
    if constexpr (What == collective::all_reduce) {
      allfold::all_reduce(threads_, given(it.count), got(it.count), operation);
    } else if constexpr (What == collective::reduce) {
      allfold::reduce(threads_, given(it.count), got(root ? it.count : 0), it.root, operation);
    } else if constexpr (What == collective::broadcast) {
      allfold::broadcast(threads_, given(root ? it.count : 0), got(it.count), it.root);
    } else if constexpr (What == collective::reduce_scatter) {
      allfold::reduce_scatter(threads_, given(whole), got(mine), operation);
    } else if constexpr (What == collective::all_gather) {
      if (even) return allfold::all_gather(threads_, given(mine), got(whole));
      allfold::all_gather(threads_, given(mine), got(whole), it.counts);
    } else if constexpr (What == collective::scatter) {
      const auto all = given(root ? whole : 0);
      if (even) return allfold::scatter(threads_, all, got(mine), it.root);
      allfold::scatter(threads_, all, got(mine), it.counts, it.root);
    } else if constexpr (What == collective::gather) {
      const auto all = got(root ? whole : 0);
      if (even) return allfold::gather(threads_, given(mine), all, it.root);
      allfold::gather(threads_, given(mine), all, it.counts, it.root);
    } else if constexpr (What == collective::all_to_all) {
      if (it.in_place) return allfold::all_to_all(threads_, got(whole));
      allfold::all_to_all(threads_, given(whole), got(whole));
    } else {
      allfold::barrier(threads_);
    }
  }

  collective told = collective::barrier;
  std::string text;

 private:
  allfold::threads::communicator& threads_;
};
static_assert(allfold::communicator<with_engine>);
static_assert(allfold::has_engine<with_engine>);
static_assert(!allfold::has_engine<allfold::threads::communicator>);

using ints = std::vector<int>;

template <class Body>
void on_ranks(int ranks, Body body) {
  allfold::spawn(ranks, [&](auto& threads) {
    with_engine world{threads};
    body(world);
  });
}

ints from(int first, std::size_t count) {
  ints made(count);
  std::iota(made.begin(), made.end(), first);
  return made;
}

}  // namespace

TEST_CASE("an engine folds") {
  on_ranks(3, [](with_engine& world) {
    ints data{world.rank(), 1};
    allfold::all_reduce<native>(world, data);
    CHECK(data == ints{3, 3});
    CHECK(world.told == collective::all_reduce);
    CHECK(world.text.starts_with("all_reduce #0 (native, 2 x int, sum) at native.cpp:"));
    allfold::all_reduce(world, data, allfold::maximum{});  // automatic is the engine's too
    CHECK(world.text.find("(native, 2 x int, maximum)") != std::string::npos);
    ints result(2, -1);
    allfold::reduce<native>(world, data, result, 1);
    CHECK(result == (world.rank() == 1 ? ints{9, 9} : ints{-1, -1}));
    CHECK(world.text.find(", root 1)") != std::string::npos);
    const ints all = from(world.rank(), 6);
    ints part(2);
    allfold::reduce_scatter<native>(world, all, part);
    CHECK(part == ints{6 * world.rank() + 3, 6 * world.rank() + 6});
    allfold::all_reduce<native>(world, ints{}, part = {});
  });
}

TEST_CASE("an engine moves") {
  on_ranks(3, [](with_engine& world) {
    const int rank = world.rank();
    ints data(2, rank), all(6), part(2);
    allfold::broadcast<native>(world, data, 2);
    CHECK(data == ints{2, 2});
    allfold::all_gather<native>(world, ints{rank, rank}, all);
    CHECK(all == ints{0, 0, 1, 1, 2, 2});
    allfold::scatter<native>(world, from(0, 6), part, 1);
    CHECK(part == ints{2 * rank, 2 * rank + 1});
    allfold::gather<native>(world, ints{rank, -rank}, all, 0);
    if (rank == 0) CHECK(all == ints{0, 0, 1, -1, 2, -2});
    ints exchanged = from(10 * rank, 3);
    allfold::all_to_all<native>(world, exchanged);
    CHECK(exchanged == ints{rank, 10 + rank, 20 + rank});
    CHECK(world.text.find(", in place)") != std::string::npos);
    allfold::barrier<native>(world);
    CHECK(world.told == collective::barrier);
  });
}

TEST_CASE("an engine gets the counts of every rank") {
  const std::vector<std::size_t> counts{1, 0, 2};
  on_ranks(3, [&](with_engine& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    const ints mine(counts[rank], world.rank());
    ints all(3), part(counts[rank]);
    allfold::all_gather<native>(world, mine, all, counts);
    CHECK(all == ints{0, 2, 2});
    CHECK(world.text.find(", counts per rank)") != std::string::npos);
    allfold::scatter<native>(world, ints{7, 8, 9}, part, counts, 0);
    CHECK(part == (rank == 0 ? ints{7} : rank == 1 ? ints{} : ints{8, 9}));
    allfold::gather<native>(world, part, all, counts, 2);
    if (rank == 2) CHECK(all == ints{7, 8, 9});
  });
}

TEST_CASE("strategies train over an engine") {
  struct model {
    std::vector<float> weights{1, 2}, slopes{0, 0};
    std::vector<std::span<float>> parameters() { return {weights}; }
    std::vector<std::span<float>> gradients() { return {slopes}; }
  };
  on_ranks(2, [](with_engine& world) {
    const auto train = [&](auto strategy) {
      model its;
      allfold::data_parallel<model, decltype(strategy)> replica{its, world};
      its.slopes = {static_cast<float>(world.rank()), 1};
      replica.reduce_gradients();
      replica.step([](auto parameter, auto gradient) {
        for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= gradient[i];
      });
      CHECK(its.weights == std::vector<float>{0.5f, 1});
    };
    train(allfold::distributed<native>{});
    train(allfold::distributed<>{});
    train(allfold::primary_device<>{});
  });
}
