// run_on_host() with the least that it asks of a communicator.
#include <allfold/execution/host.hpp>
#include <allfold/launch/spawn.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/proof.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/failures.hpp"
#include "support/reference.hpp"

namespace {

using allfold::buffer;

// ---- archetypes ----

/// Has what a port must have and nothing else.
struct least_port {
  least_port() = delete;
  least_port(const least_port&) = delete;
  least_port& operator=(const least_port&) = delete;
  int rank();
  int size();
  std::byte* address(int, buffer);
  void wait_entered(int);
  void wait_progress(int, std::uint64_t);
  void publish(std::uint64_t);
  void begin_folding();
  void end_folding();
  void moved(std::uint64_t, std::uint64_t);
};
struct port_with_wide_rank : least_port {
  long rank();
};
struct port_with_const_memory : least_port {
  const std::byte* address(int, buffer);
};
struct port_without_publish : least_port {
  void publish() = delete;
};
struct port_that_cannot_wait : least_port {
  void wait_progress(int);
};
struct port_that_folds_unannounced : least_port {
  void begin_folding(int);
};
static_assert(allfold::host_port<least_port>);
static_assert(!allfold::host_port<port_with_wide_rank>);
static_assert(!allfold::host_port<port_with_const_memory>);
static_assert(!allfold::host_port<port_without_publish>);
static_assert(!allfold::host_port<port_that_cannot_wait>);
static_assert(!allfold::host_port<port_that_folds_unannounced>);
static_assert(!allfold::host_port<int>);

// ---- memory of all ranks, and a port that does without waiting ----

/// The buffers of all ranks, of floats.
struct buffers {
  buffers(int ranks, std::size_t count, std::size_t scratch = 0) {
    for (int rank = 0; rank < ranks; ++rank) {
      auto& mine = of.emplace_back(4);
      mine[static_cast<std::size_t>(buffer::input)].resize(count);
      mine[static_cast<std::size_t>(buffer::output)].resize(count, -1);
      mine[static_cast<std::size_t>(buffer::scratch)].resize(scratch, -1);
    }
    test::random_bits random{5};
    for (auto& each : of)
      for (float& value : each.front()) value = test::random_float<float>(random, 10);
    for (auto& each : of) each[static_cast<std::size_t>(buffer::slot)] = each.front();
  }
  std::byte* at(int rank, buffer where) {
    auto& mine = of[static_cast<std::size_t>(rank)][static_cast<std::size_t>(where)];
    return reinterpret_cast<std::byte*>(mine.data());
  }
  std::vector<float>& output(int rank) {
    return of[static_cast<std::size_t>(rank)][static_cast<std::size_t>(buffer::output)];
  }
  std::vector<std::vector<std::vector<float>>> of;  ///< [rank][buffer][element]
};

/// What a rank did, in order. Waits return at once.
struct recorder {
  struct act {
    enum class what { entered, progress, begin, end, publish, moved } kind;
    int peer = -1;
    std::uint64_t number = 0;
    std::uint64_t other = 0;
  };

  recorder(buffers& all, int rank, int size) : all_{all}, rank_{rank}, size_{size} {}
  int rank() { return rank_; }
  int size() { return size_; }
  std::byte* address(int peer, buffer where) { return all_.at(peer, where); }
  void wait_entered(int peer) { acts.push_back({act::what::entered, peer}); }
  void wait_progress(int peer, std::uint64_t turns) {
    if (throws_at_wait) throw std::runtime_error{"waited too long"};
    acts.push_back({act::what::progress, peer, turns});
  }
  void publish(std::uint64_t turns) { acts.push_back({act::what::publish, -1, turns}); }
  void begin_folding() { acts.push_back({act::what::begin}); }
  void end_folding() { acts.push_back({act::what::end}); }
  void moved(std::uint64_t read, std::uint64_t written) {
    acts.push_back({act::what::moved, -1, read, written});
  }

  std::vector<act> acts;
  bool throws_at_wait = false;

 private:
  buffers& all_;
  int rank_;
  int size_;
};
using what = recorder::act::what;

template <class Schedule, class Operation = allfold::sum>
std::uint64_t run(recorder& port, const Schedule& plan, const allfold::partition& parts,
                  const Operation& operation = {}) {
  return allfold::run_on_host<float>(port, plan, parts, operation);
}

/// The acts of each rank for a schedule, one rank after the other.
template <class Schedule>
std::vector<std::vector<recorder::act>> acts_of(const Schedule& plan, int ranks, int pieces,
                                                std::size_t count) {
  std::vector<std::vector<recorder::act>> all;
  buffers memory{ranks, count, 2 * count};
  const allfold::partition parts{count, plan.chunks(ranks), pieces, 1};
  for (int rank = 0; rank < ranks; ++rank) {
    recorder port{memory, rank, ranks};
    run(port, plan, parts);
    all.push_back(std::move(port.acts));
  }
  return all;
}

/// Checks what holds of any rank's acts, whatever the schedule.
template <class Schedule>
void check_acts(const Schedule& plan, int ranks, int pieces) {
  const auto all = acts_of(plan, ranks, pieces, 64);
  const allfold::pipeline<Schedule> line{plan, ranks, pieces};
  for (int rank = 0; rank < ranks; ++rank) {
    INFO(Schedule::name, ", ", ranks, " ranks, ", pieces, " pieces, rank ", rank);
    const auto& acts = all[static_cast<std::size_t>(rank)];
    std::uint64_t published = 0, latest_exit = 0;
    bool inside = false, shrinks = false, outside = false, waits_for_itself = false;
    for (const recorder::act& each : acts) {
      if (each.kind == what::begin || each.kind == what::end) {
        outside = outside || inside == (each.kind == what::begin);
        inside = each.kind == what::begin;
      } else {
        outside = outside || (inside && each.kind != what::moved);
      }
      if (each.kind == what::publish) {
        shrinks = shrinks || each.number < published;
        published = each.number;
        latest_exit = 0;
      }
      if (each.kind == what::progress) latest_exit = std::max(latest_exit, each.number);
      if (each.kind == what::entered || each.kind == what::progress)
        waits_for_itself = waits_for_itself || each.peer == rank;
    }
    CHECK(!shrinks);
    CHECK(!outside);
    CHECK(!inside);
    CHECK(!waits_for_itself);
    CHECK(published == line.turns());
    std::uint64_t exit = 0;  // the last progress that it must wait for before it leaves
    for (const allfold::wait& each : plan.exit(rank, ranks))
      if (each.step != allfold::entered && (each.who.count > 1 || each.who.first != rank))
        exit = std::max(exit, line.progress_after(each.step, pieces - 1));
    CHECK(latest_exit == exit);
  }
}

// ---- a port between threads ----

/// What ranks share that are threads and nothing more.
struct meeting {
  explicit meeting(int ranks)
      : progress(static_cast<std::size_t>(ranks)), here(static_cast<std::size_t>(ranks)) {}
  std::vector<std::atomic<std::uint64_t>> progress;
  std::vector<std::atomic<bool>> here;
};

class thread_port {
 public:
  thread_port(buffers& memory, meeting& all, int rank) : memory_{memory}, all_{all}, rank_{rank} {
    all_.here[at(rank)].store(true, std::memory_order_release);
  }
  int rank() { return rank_; }
  int size() { return static_cast<int>(all_.here.size()); }
  std::byte* address(int peer, buffer where) { return memory_.at(peer, where); }
  void wait_entered(int peer) {
    while (!all_.here[at(peer)].load(std::memory_order_acquire)) std::this_thread::yield();
  }
  void wait_progress(int peer, std::uint64_t turns) {
    while (all_.progress[at(peer)].load(std::memory_order_acquire) < turns)
      std::this_thread::yield();
  }
  void publish(std::uint64_t turns) {
    all_.progress[at(rank_)].store(turns, std::memory_order_release);
  }
  void begin_folding() {}
  void end_folding() {}
  void moved(std::uint64_t, std::uint64_t) {}

 private:
  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }
  buffers& memory_;
  meeting& all_;
  int rank_;
};

/// Runs an all-reduce on threads and compares with the serial fold.
template <class Schedule>
void try_on_threads(int ranks, int pieces, std::size_t count, test::failures& list) {
  const Schedule plan{};
  buffers memory{ranks, count};
  meeting all{ranks};
  const allfold::partition parts{count, plan.chunks(ranks), pieces, 4};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      thread_port port{memory, all, rank};
      allfold::run_on_host<float>(port, plan, parts, allfold::sum{});
    });
  for (std::thread& each : threads) each.join();

  const test::fold_plan folds = test::plan_of(plan, ranks, parts);
  std::vector<const float*> inputs;
  for (const auto& each : memory.of) inputs.push_back(each.front().data());
  const test::bytes before(count * sizeof(float));
  for (int rank = 0; rank < ranks; ++rank) {
    const test::bytes expected = test::folded<float, allfold::sum>(folds, rank, inputs, before);
    if (count > 0 && std::memcmp(expected.data(), memory.output(rank).data(), before.size()) != 0)
      list.add(std::string{Schedule::name} + " on " + std::to_string(ranks) + " ranks, " +
               std::to_string(pieces) + " pieces, " + std::to_string(count) + " elements: rank " +
               std::to_string(rank));
  }
}

// ---- schedules of the tests' own ----

/// Rank 1 waits for a step of rank 0 that has no work.
struct waits_for_nothing {
  static constexpr allfold::collective kind = allfold::collective::all_reduce;
  static constexpr std::string_view name = "waits_for_nothing";

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 2; }
  constexpr int scratch_chunks(int) const { return 1; }
  constexpr allfold::step at(int rank, int size, int index) const {
    using namespace allfold;
    if (size != 2) return {};
    if (rank == 1 && index == 0)
      return step{}.from(only(1), buffer::input).to(only(1), buffer::scratch).after(only(0), 0);
    if (rank == 0 && index == 1)
      return step{}
          .from(every(2), buffer::input)
          .to(every(2), buffer::output)
          .after(only(1), 0)
          .complete();
    return {};
  }
  constexpr allfold::waits exit(int rank, int) const {
    allfold::waits list;
    if (rank == 1) list.push({allfold::only(0), 1});
    return list;
  }
};

/// Likes pieces, but has several chunks of scratch memory, which can't be divided.
struct many_scratch_chunks : allfold::ring {
  constexpr int scratch_chunks(int) const { return 2; }
};

struct thrower {
  float operator()(float, float) const { throw std::out_of_range{"no sum"}; }
};

}  // namespace

TEST_CASE("waits come before folds, and progress is told after them") {
  buffers memory{3, 6};
  recorder port{memory, 1, 3};
  const allfold::partition parts{6, 3, 1, 1};
  CHECK(run(port, allfold::direct{}, parts) == 1);
  const std::vector<what> expected{what::entered, what::entered, what::begin, what::end};
  REQUIRE(port.acts.size() >= 6);
  std::vector<what> first;
  for (const recorder::act& each : port.acts)
    if (each.kind != what::moved && first.size() < expected.size()) first.push_back(each.kind);
  CHECK(first == expected);
  CHECK(port.acts[0].peer + port.acts[1].peer == 2);  // ranks 0 and 2
  const recorder::act& last = port.acts.back();
  CHECK(last.kind == what::progress);  // the exit wait
  CHECK(last.number == 1);
  for (int rank = 0; rank < 3; ++rank)
    for (std::size_t i = 0; i < 6; ++i) {
      CAPTURE(rank);
      CAPTURE(i);
      const float sum = memory.of[0][0][i] + memory.of[1][0][i] + memory.of[2][0][i];
      CHECK(memory.output(rank)[i] == (i / 2 == 1 ? sum : -1));
    }
}

TEST_CASE("what holds of any rank's acts, whatever the schedule") {
  for (int ranks = 1; ranks <= 6; ++ranks)
    for (int pieces = 1; pieces <= 4; ++pieces) {
      check_acts(allfold::direct{}, ranks, pieces);
      check_acts(allfold::ring{}, ranks, pieces);
      check_acts(allfold::tree{}, ranks, pieces);
      check_acts(allfold::halving_doubling{}, ranks, pieces);
      check_acts(allfold::primary<>{}, ranks, pieces);
      check_acts(allfold::ring::reduce{.root = ranks - 1}, ranks, pieces);
      check_acts(allfold::tree::broadcast{.root = ranks - 1}, ranks, pieces);
    }
}

TEST_CASE("every all_reduce on threads that know no more than a port") {
  test::failures list;
  for (int ranks = 1; ranks <= 6; ++ranks)
    for (const int pieces : {1, 2, 5})
      for (const std::size_t count : {0u, 1u, 7u, 200u}) {
        try_on_threads<allfold::direct>(ranks, pieces, count, list);
        try_on_threads<allfold::ring>(ranks, pieces, count, list);
        try_on_threads<allfold::tree>(ranks, pieces, count, list);
        try_on_threads<allfold::halving_doubling>(ranks, pieces, count, list);
        try_on_threads<allfold::primary<>>(ranks, pieces, count, list);
        try_on_threads<allfold::one_shot>(ranks, 1, count, list);
      }
  CHECK_NONE(list);
}

TEST_CASE("more sources and targets than pointers kept at hand") {
  for (const int ranks : {31, 32, 33, 70}) {
    CAPTURE(ranks);
    const auto n = static_cast<std::size_t>(ranks);
    buffers memory{ranks, 2 * n};
    const allfold::partition parts{2 * n, ranks, 1, 1};
    for (int rank = 0; rank < ranks; ++rank) {
      recorder port{memory, rank, ranks};
      run(port, allfold::direct{}, parts);
    }
    std::vector<float> expected = memory.of[0][0];
    for (std::size_t rank = 1; rank < n; ++rank)
      for (std::size_t i = 0; i < 2 * n; ++i) expected[i] += memory.of[rank][0][i];
    bool same = true;
    for (int rank = 0; rank < ranks; ++rank)
      same = same && std::memcmp(memory.output(rank).data(), expected.data(),
                                 expected.size() * sizeof(float)) == 0;
    CHECK(same);
  }
}

TEST_CASE("bytes are counted") {
  const auto total = [](const auto& all) {
    std::pair<std::uint64_t, std::uint64_t> sum{0, 0};
    for (const auto& acts : all)
      for (const recorder::act& each : acts)
        if (each.kind == what::moved) {
          sum.first += each.number;
          sum.second += each.other;
        }
    return sum;
  };
  using pair = std::pair<std::uint64_t, std::uint64_t>;
  constexpr std::uint64_t bytes = 60 * sizeof(float);  // a fifth of them is a chunk
  CHECK(total(acts_of(allfold::direct{}, 5, 1, 60)) == pair{5 * bytes, 5 * bytes});
  CHECK(total(acts_of(allfold::primary<>{}, 5, 1, 60)) == pair{5 * bytes, 5 * bytes});
  // Four steps that read two chunks and write one, and four that read one and write one.
  CHECK(total(acts_of(allfold::ring{}, 5, 1, 60)) == pair{12 * bytes, 8 * bytes});
  CHECK(total(acts_of(allfold::ring{}, 5, 3, 60)) == pair{12 * bytes, 8 * bytes});
  CHECK(total(acts_of(allfold::direct::broadcast{}, 5, 1, 60)) == pair{5 * bytes, 5 * bytes});
  CHECK(total(acts_of(allfold::direct::barrier{}, 5, 1, 60)) == pair{0, 0});
}

TEST_CASE("a copy from a place to itself moves nothing") {
  buffers memory{1, 8};
  struct in_place : recorder {
    using recorder::recorder;
    std::byte* address(int peer, buffer) { return recorder::address(peer, buffer::input); }
  } port{memory, 0, 1};
  const std::vector<float> before = memory.of[0][0];
  allfold::run_on_host<float>(port, allfold::direct::broadcast{}, allfold::partition{8, 1, 1, 1},
                              allfold::sum{});
  for (const recorder::act& each : port.acts) CHECK(each.kind != what::moved);
  CHECK(memory.of[0][0] == before);
}

TEST_CASE("what a port or an operation throws comes through, and folding has ended") {
  buffers memory{2, 4};
  const allfold::partition parts{4, 2, 1, 1};
  recorder impatient{memory, 0, 2};
  impatient.throws_at_wait = true;
  CHECK_THROWS_WITH_AS(run(impatient, allfold::direct{}, parts), "waited too long",
                       std::runtime_error);
  recorder port{memory, 0, 2};
  CHECK_THROWS_WITH_AS(run(port, allfold::direct{}, parts, thrower{}), "no sum", std::out_of_range);
  REQUIRE(!port.acts.empty());
  CHECK(port.acts.back().kind == what::end);
}

TEST_CASE("a schedule that is proven sound does not hang, whatever it waits for") {
  if (!allfold::prove<waits_for_nothing>(2).sound()) return;
  const auto thrown = allfold::try_spawn(
      2,
      [](auto& world) {
        const std::vector<float> input(3, 1);
        std::vector<float> output(3);
        const allfold::call said{
            .kind = &allfold::kind_of_call<waits_for_nothing, float, allfold::sum>, .count = 3};
        world.template run<float>(waits_for_nothing{},
                                  {input.data(), output.data(), 0, 3 * sizeof(float)},
                                  allfold::partition{3, 1, 1, 1}, allfold::sum{}, said);
      },
      {.timeout = std::chrono::seconds{1}});
  for (const std::exception_ptr& each : thrown) CHECK(!each);
}

TEST_CASE("pieces_for") {
  constexpr std::size_t piece = allfold::ring::piece_bytes;
  SUBCASE("is 1 for a schedule that does not ask for pieces") {
    CHECK(allfold::pieces_for(allfold::direct{}, 4, std::size_t{1} << 40) == 1);
    CHECK(allfold::pieces_for(allfold::halving_doubling{}, 4, std::size_t{1} << 40) == 1);
  }
  SUBCASE("makes chunks of a piece no longer than asked for") {
    for (const int ranks : {1, 2, 3, 8}) {
      CAPTURE(ranks);
      const std::size_t one = piece * static_cast<std::size_t>(ranks);
      const auto pieces = [&](std::size_t bytes) {
        return allfold::pieces_for(allfold::ring{}, ranks, bytes);
      };
      CHECK(pieces(0) == 1);
      CHECK(pieces(1) == 1);
      CHECK(pieces(one) == 1);
      CHECK(pieces(one + 1) == 2);
      CHECK(pieces(2 * one) == 2);
      CHECK(pieces(100 * one - 1) == 100);
    }
    CHECK(allfold::pieces_for(allfold::tree{}, 8, 2 * piece + 1) == 2);
    CHECK(allfold::pieces_for(allfold::tree::reduce{}, 8, 2 * piece + 1) == 3);
  }
  SUBCASE("is 1 where scratch memory has several chunks") {
    CHECK(allfold::pieces_for(many_scratch_chunks{}, 4, 100 * piece) == 1);
    CHECK(allfold::pieces_for(allfold::ring::reduce{}, 4, 100 * piece) == 100);
  }
  SUBCASE("has an upper limit") {
    constexpr std::size_t huge = std::size_t{1} << 50;
    CHECK(allfold::pieces_for(allfold::ring{}, 2, huge) == 1 << 20);
  }
}
