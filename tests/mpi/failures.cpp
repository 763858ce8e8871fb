// What goes wrong on one rank over MPI is told to all, by name, and nobody waits forever.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using allfold::mismatch_error;
using allfold::rank_lost_error;
using allfold::timeout_error;
using allfold::usage_error;
using allfold::mpi::options;
using doctest::Contains;
using world_type = allfold::mpi::communicator;

int processes() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}
int rank_of_process() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
/// Returns when all processes have called it: ranks stay together whatever has failed, and none is
/// told of a failure while it still makes the communicator.
void meet_again() { MPI_Barrier(MPI_COMM_WORLD); }

const options both[] = {{.timeout = 20s}, {.timeout = 20s, .compare_calls = false}};

}  // namespace

TEST_CASE("ranks that call different things are told who calls what") {
  if (processes() < 2) return;
  world_type world{MPI_COMM_WORLD, {.timeout = 20s}};
  std::vector<float> data(10);
  allfold::all_reduce(world, data);
  const bool is_odd = world.rank() == 1;
  const auto call = [&] {
    if (is_odd)
      allfold::broadcast(world, data);
    else
      allfold::all_reduce(world, data, allfold::maximum{});
  };
  CHECK_THROWS_WITH_AS(call(), Contains("the ranks call different collectives"), mismatch_error);
  const std::string other = "calls all_reduce #1 (native, 10 x float, maximum) at failures.cpp:";
  CHECK_THROWS_WITH_AS(allfold::barrier(world), Contains(("rank 0 " + other).c_str()),
                       mismatch_error);
  CHECK_THROWS_WITH_AS(allfold::barrier(world),
                       Contains("rank 1 calls broadcast #1 (native, 10 x float, root 0) at"),
                       mismatch_error);
  CHECK_THROWS_WITH_AS(allfold::barrier(world), Contains("barrier #1 (native) at failures.cpp:"),
                       mismatch_error);
}

TEST_CASE("every difference is noticed") {
  if (processes() < 2) return;
  const auto differ = [](auto usual, auto odd) {
    world_type world{MPI_COMM_WORLD, {.timeout = 20s}};
    std::vector<int> data(12 * static_cast<std::size_t>(world.size()));
    const auto call = [&] {
      if (world.rank() == world.size() - 1)
        odd(world, data);
      else
        usual(world, data);
    };
    CHECK_THROWS_AS(call(), mismatch_error);
  };
  using ints = std::vector<int>;
  differ([](world_type& w, ints& d) { allfold::broadcast(w, d, 0); },
         [](world_type& w, ints& d) { allfold::broadcast(w, d, 1); });
  differ([](world_type& w, ints& d) { allfold::all_reduce(w, d); },
         [](world_type& w, ints& d) { allfold::all_reduce(w, std::span{d}.first(3)); });
  differ([](world_type& w, ints& d) { allfold::all_reduce(w, d); },
         [](world_type& w, ints& d) {
           allfold::all_reduce(w, std::span{reinterpret_cast<unsigned*>(d.data()), d.size()});
         });
  differ([](world_type& w, ints& d) { allfold::all_to_all(w, d); },
         [](world_type& w, ints& d) {
           ints other(d.size());
           allfold::all_to_all(w, d, other);
         });
  const auto gather = [](world_type& w, ints& d, std::size_t first) {
    std::vector<std::size_t> counts(static_cast<std::size_t>(w.size()), 2);
    counts[0] = first;
    counts[1] = 4 - first;
    const std::size_t own = counts[static_cast<std::size_t>(w.rank())];
    ints all(2 * static_cast<std::size_t>(w.size()));
    allfold::gather(w, std::span{d}.first(own), all, counts);
  };
  differ([&](world_type& w, ints& d) { gather(w, d, 1); },
         [&](world_type& w, ints& d) { gather(w, d, 3); });
}

TEST_CASE("options that can't go together are refused") {
  if (processes() < 2) return;
  const auto make = [](options how) { world_type world{MPI_COMM_WORLD, how}; };
  const bool is_odd = rank_of_process() == 0;
  CHECK_THROWS_WITH_AS(make({.compare_calls = is_odd}), Contains("different options"),
                       mismatch_error);
  CHECK_THROWS_AS(make({.largest_count = is_odd ? 1000u : 1001u}), mismatch_error);
}

TEST_CASE("a wrong call on one rank is told to the others") {
  for (const options& how : both) {
    world_type world{MPI_COMM_WORLD, how};
    meet_again();
    std::vector<int> data(8);
    const bool is_wrong = world.rank() == world.size() - 1;
    const auto call = [&] { allfold::broadcast(world, data, is_wrong ? world.size() : 0); };
    const auto next = [&] { allfold::barrier(world); };
    const std::string why = "there is no rank " + std::to_string(world.size());
    if (is_wrong) {
      CHECK_THROWS_WITH_AS(call(), Contains((why + " to be the root").c_str()), usage_error);
    } else if (how.compare_calls) {
      CHECK_THROWS_WITH_AS(call(), Contains(why.c_str()), usage_error);
    } else {
      CHECK_THROWS_WITH_AS((call(), next()), Contains(why.c_str()), usage_error);
    }
    CHECK_THROWS_WITH_AS(next(), Contains("gives up"), usage_error);
  }
}

TEST_CASE("a rank gives up while the others wait, and before they call anything") {
  for (const options& how : both) {
    for (const auto late : {0ms, 30ms}) {
      world_type world{MPI_COMM_WORLD, how};
      meet_again();
      const bool gives_up = world.rank() == 0;
      if (gives_up) {
        std::this_thread::sleep_for(late);
        world.abort("the loss is not finite");
      } else {
        std::this_thread::sleep_for(30ms - late);
      }
      std::vector<double> data(1000);
      const auto call = [&] { allfold::all_reduce(world, data); };
      CHECK_THROWS_WITH_AS(call(), Contains("all_reduce #0 (native, 1000 x double, sum) at"),
                           usage_error);
      CHECK_THROWS_WITH_AS(call(), Contains("rank 0 gives up: the loss is not finite"),
                           usage_error);
    }
  }
}

TEST_CASE("a rank that leaves with an exception is missed at once") {
  if (processes() < 2) return;
  for (const options& how : both) {
    const auto rank = [&] {
      world_type world{MPI_COMM_WORLD, how};
      meet_again();
      if (world.rank() == 1) throw std::invalid_argument{"sample 31415"};
      allfold::barrier(world);
    };
    if (rank_of_process() == 1)
      CHECK_THROWS_AS(rank(), std::invalid_argument);
    else
      CHECK_THROWS_WITH_AS(rank(), Contains("rank 1 has left with an exception"), rank_lost_error);
  }
}

TEST_CASE("an operation that throws") {
  for (const options& how : both) {
    world_type world{MPI_COMM_WORLD, how};
    meet_again();
    if (world.size() < 2) return;
    std::vector<int> data(50, 1);
    // Every rank folds something in an all_reduce, but MPI may leave it to some of them.
    const auto call = [&] {
      allfold::all_reduce(world, data, [](int, int) -> int { throw std::range_error{"too far"}; });
      allfold::barrier(world);
    };
    try {
      call();
      FAIL_CHECK("nothing was thrown");
    } catch (const std::range_error& thrown) {
      CHECK(std::string{thrown.what()} == "too far");
    } catch (const rank_lost_error& told) {
      CHECK_MESSAGE(std::string{told.what()}.find(" threw: too far") != std::string::npos,
                    told.what());
    }
  }
}

TEST_CASE("a rank that does not come is missed by name after the time limit") {
  if (processes() < 2) return;
  for (const bool compares : {true, false}) {
    world_type world{MPI_COMM_WORLD, {.timeout = 200ms, .compare_calls = compares}};
    meet_again();
    const int late = world.size() - 1;
    world.meet();
    // Kept until the late rank has come: without comparing, MPI may still use it.
    static std::vector<float> data(1000);
    const auto call = [&] { allfold::all_reduce(world, data); };
    const auto begin = std::chrono::steady_clock::now();
    if (world.rank() == late) std::this_thread::sleep_for(1s);
    // What the others have given already may complete the late rank's first call.
    CHECK_THROWS_WITH_AS((call(), world.meet()), Contains("has waited 200 ms in all_reduce #1"),
                         timeout_error);
    CHECK(std::chrono::steady_clock::now() - begin < 10s);
    if (allfold::mpi::somebody_is_missing())
      CHECK_THROWS_WITH_AS(
          call(),
          Contains((" for rank " + std::to_string(late) + ", of which nothing is heard").c_str()),
          timeout_error);
    allfold::mpi::somebody_is_missing() = false;
    meet_again();
  }
}

TEST_CASE("a rank that does not come to the making of a communicator") {
  if (processes() < 2) return;
  const auto make = [] { world_type world{MPI_COMM_WORLD, {.timeout = 200ms}}; };
  if (rank_of_process() == 0) {
    std::this_thread::sleep_for(600ms);
    CHECK_THROWS_AS(make(), timeout_error);
  } else {
    CHECK_THROWS_WITH_AS(make(), Contains("mpi::communicator at failures.cpp:"), timeout_error);
  }
  meet_again();
}

TEST_CASE("what MPI refuses becomes an error with MPI's words, and is told to the others") {
  allfold::mpi::connection link{
      allfold::mpi::duplicate(MPI_COMM_WORLD, {}, std::source_location::current()),
      {.timeout = 20s},
      std::source_location::current()};
  link.agree();
  meet_again();
  using plan = allfold::native::barrier;
  const allfold::call said{.kind = &allfold::kind_of_call<plan, char, allfold::sum>,
                           .where = std::source_location::current()};
  const auto refused = [&] {
    link.enter(said);
    link.run(
        [&](MPI_Request* open) {
          return MPI_Ibcast(nullptr, link.rank() == 0 ? -1 : 0, MPI_BYTE, 0, link.get(), open);
        },
        "MPI_Ibcast");
    link.leave();
    link.enter(said);
  };
  if (link.rank() == 0)
    CHECK_THROWS_WITH_AS(refused(), Contains("barrier #0 (native) at failures.cpp:"),
                         allfold::mpi::mpi_error);
  else
    CHECK_THROWS_WITH_AS(refused(), Contains("on rank 0 MPI_Ibcast failed: "), rank_lost_error);
  CHECK(!link.works());
  meet_again();
}

TEST_CASE("a failure is its own communicator's") {
  if (processes() < 2) return;
  world_type world{MPI_COMM_WORLD, {.timeout = 20s}};
  {
    world_type second = world.companion();
    auto team = world.split(0);
    meet_again();
    team.abort("enough");
    CHECK_THROWS_AS(allfold::barrier(team), usage_error);
    allfold::barrier(second);
  }
  std::vector<int> data(3, 1);
  allfold::all_reduce(world, data);
  CHECK(data == std::vector<int>(3, world.size()));
}
