// mpi::communicator itself: how it is made, divided and given back; what it refuses at the door.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>

#include <doctest/doctest.h>

#include <climits>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

using allfold::usage_error;
using doctest::Contains;
using world_type = allfold::mpi::communicator;

void make(MPI_Comm ranks, allfold::mpi::options how = {}) { world_type world{ranks, how}; }

}  // namespace

TEST_SUITE("before MPI") {
  TEST_CASE("no communicator before MPI has begun") {
    CHECK_THROWS_WITH_AS(make(MPI_COMM_WORLD),
                         Contains("mpi::communicator at communicator.cpp:18: MPI has not begun"),
                         usage_error);
  }
}

TEST_SUITE("after MPI") {
  TEST_CASE("no communicator after MPI has ended") {
    CHECK_THROWS_WITH_AS(make(MPI_COMM_WORLD), Contains("MPI has ended"), usage_error);
  }
}

TEST_CASE("ranks and sizes are MPI's") {
  static_assert(allfold::communicator<world_type> && allfold::has_engine<world_type>);
  int rank = -1, size = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  world_type world{MPI_COMM_WORLD};
  CHECK(world.rank() == rank);
  CHECK(world.size() == size);
  CHECK(world.number() == 0);
  world.meet();
  CHECK(world.gather(rank * 3).back() == (size - 1) * 3);
  CHECK(world.number() == 2);
  world_type moved{std::move(world)};
  moved.meet();
  CHECK(moved.number() == 3);
}

TEST_CASE("what can't be a communicator is refused") {
  CHECK_THROWS_WITH_AS(make(MPI_COMM_NULL), Contains("MPI_COMM_NULL"), usage_error);
  CHECK_THROWS_WITH_AS(make(MPI_COMM_WORLD, {.largest_count = 0}), Contains("largest_count"),
                       usage_error);
  CHECK_THROWS_AS(make(MPI_COMM_WORLD, {.largest_count = std::size_t{INT_MAX} + 1}), usage_error);
  const auto begin_again = [] {
    int count = 0;
    char** values = nullptr;
    allfold::mpi::environment again{count, values};
  };
  CHECK_THROWS_WITH_AS(begin_again(), Contains("begun already"), usage_error);
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size < 2) return;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm half = MPI_COMM_NULL, both = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? 0 : 1, 0, &half);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank == 0 ? 1 : 0, 5, &both);
  CHECK_THROWS_WITH_AS(make(both), Contains("two groups"), usage_error);
  MPI_Comm_free(&both);
  MPI_Comm_free(&half);
}

TEST_CASE("messages of the library never meet the caller's, and the other way round") {
  world_type world{MPI_COMM_WORLD};
  const int next = (world.rank() + 1) % world.size();
  std::vector<int> sent(4, world.rank()), received(4, -1), sums(4, 1);
  std::vector<MPI_Request> open(10, MPI_REQUEST_NULL);
  for (int tag = 0; tag < 5; ++tag)  // whatever tags the library uses
    MPI_Isend(sent.data(), 4, MPI_INT, next, tag, MPI_COMM_WORLD,
              &open[static_cast<std::size_t>(tag)]);
  allfold::all_reduce(world, sums);
  std::vector<std::vector<int>> taken(5, std::vector<int>(4, -1));
  for (std::size_t tag = 0; tag < 5; ++tag)
    MPI_Irecv(taken[tag].data(), 4, MPI_INT, MPI_ANY_SOURCE, static_cast<int>(tag), MPI_COMM_WORLD,
              &open[5 + tag]);
  MPI_Waitall(10, open.data(), MPI_STATUSES_IGNORE);
  const int before = (world.rank() + world.size() - 1) % world.size();
  for (const auto& each : taken) CHECK(each == std::vector<int>(4, before));
  CHECK(sums == std::vector<int>(4, world.size()));
}

TEST_CASE("ranks divide, and teams work side by side") {
  world_type world{MPI_COMM_WORLD};
  // Ranks from the last to the first; colors of any kind.
  auto team =
      world.split(world.rank() % 2 == 0 ? std::int64_t{-7} : std::int64_t{1} << 40, -world.rank());
  const int parity = world.rank() % 2;
  CHECK(team.size() == (world.size() + 1 - parity) / 2);
  const auto members = team.gather(world.rank());
  for (std::size_t i = 0; i + 1 < members.size(); ++i) CHECK(members[i] == members[i + 1] + 2);
  CHECK(members[static_cast<std::size_t>(team.rank())] == world.rank());
  int sum = world.rank();
  allfold::all_reduce(team, std::span{&sum, 1});
  int expected = 0;
  for (const int each : members) expected += each;
  CHECK(sum == expected);
  world.meet();
}

TEST_CASE("some of MPI's ranks are enough") {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm some = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? MPI_UNDEFINED : 1, 0, &some);
  if (some == MPI_COMM_NULL) return;
  world_type world{some};
  MPI_Comm_free(&some);  // the library has its own
  CHECK(world.gather(world.rank()).size() == static_cast<std::size_t>(world.size()));
}

TEST_CASE("a second thread works on a companion") {
  world_type world{MPI_COMM_WORLD};
  REQUIRE(world.has_companion());
  world_type second = world.companion();
  long sums[2] = {0, 0};
  const auto work = [](world_type& on, long& sum) {
    for (int i = 0; i < 100; ++i) {
      std::vector<long> data(300, i);
      allfold::all_reduce(on, data, allfold::maximum{});
      allfold::all_reduce(on, data);
      sum += data.back();
    }
  };
  std::thread other{[&] { work(second, sums[1]); }};
  work(world, sums[0]);
  other.join();
  CHECK(sums[0] == 4950L * world.size());
  CHECK(sums[1] == 4950L * world.size());
}

TEST_CASE("its communicator is given back to MPI, but not after a failure") {
  // MPI copies an attribute of the caller's communicator, and tells when the copy goes away.
  static int freed = 0;
  const auto count = [](MPI_Comm, int, void*, void*) { return ++freed, MPI_SUCCESS; };
  int key = MPI_KEYVAL_INVALID;
  MPI_Comm_create_keyval(MPI_COMM_DUP_FN, count, &key, nullptr);
  MPI_Comm parent = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &parent);
  MPI_Comm_set_attr(parent, key, nullptr);
  {
    world_type world{parent};
    world_type moved{std::move(world)};
    int one = 1;
    allfold::all_reduce(moved, std::span{&one, 1}, allfold::maximum{});
    CHECK(freed == 0);
  }
  CHECK(freed == 1);
  {
    world_type world{parent};
    MPI_Barrier(parent);
    world.abort("enough");
  }
  CHECK(freed == 1);
  MPI_Comm_free(&parent);
  CHECK(freed == 2);
  MPI_Comm_free_keyval(&key);
}

TEST_CASE("numbers that MPI can't count are cut in pieces") {
  constexpr std::size_t whole = std::size_t{5} << 30;
  std::size_t covered = 0, pieces = 0;
  allfold::mpi::in_pieces(whole, INT_MAX, [&](std::size_t first, int count) {
    CHECK(first == covered);
    CHECK(count > 0);
    covered += static_cast<std::size_t>(count);
    ++pieces;
  });
  CHECK(covered == whole);
  CHECK(pieces == 3);
  allfold::mpi::in_pieces(0, INT_MAX, [&](std::size_t, int) { ++pieces; });
  allfold::mpi::in_pieces(INT_MAX, INT_MAX, [&](std::size_t, int) { ++pieces; });
  CHECK(pieces == 4);
}
