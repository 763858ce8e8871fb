// What goes wrong on a GPU: every rank gets an error that says what it was, and the GPU works on.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "cuda/endings.cuh"

namespace {

using namespace endings;
using namespace std::chrono_literals;

}  // namespace

// ---- mismatches: found on the host, before anything is launched ----

TEST_CASE("another count") {
  const auto all = run(3, [](world& world) {
    floats data(world.rank() == 1 ? 10'001u : 10'000u);
    allfold::all_reduce<allfold::direct>(world, data);
  });
  check_all(all, ending::mismatch,
            {"rank 1 calls all_reduce #", "(direct, 10001 x float, sum)",
             "(direct, 10000 x float, sum)", "failures.cu:"});
}

TEST_CASE("another type, operation or algorithm") {
  auto all = run(2, [](world& world) {
    if (world.rank() == 0) {
      floats data(10'000);
      allfold::all_reduce<allfold::direct>(world, data);
    } else {
      thrust::device_vector<int> data(10'000);
      allfold::all_reduce<allfold::direct>(world, data);
    }
  });
  check_all(all, ending::mismatch, {"10000 x float", "10000 x int", "failures.cu:"});
  all = run(2, [](world& world) {
    floats data(10'000);
    if (world.rank() == 0)
      allfold::all_reduce<allfold::direct>(world, data);
    else
      allfold::all_reduce<allfold::direct>(world, data, allfold::maximum{});
  });
  check_all(all, ending::mismatch, {"sum)", "maximum)", "failures.cu:"});
  all = run(2, [](world& world) {
    floats data(10'000);
    if (world.rank() == 0)
      allfold::all_reduce<allfold::direct>(world, data);
    else
      allfold::all_reduce<allfold::ring>(world, data);
  });
  check_all(all, ending::mismatch, {"(direct,", "(ring,", "failures.cu:"});
}

TEST_CASE("another collective, or root") {
  auto all = run(4, [](world& world) {
    floats data(10'000);
    if (world.rank() == 2)
      allfold::barrier(world);
    else
      allfold::broadcast<allfold::tree>(world, data);
  });
  check_all(all, ending::mismatch, {"rank 2 calls barrier #", "broadcast #", "failures.cu:"});
  all = run(3, [](world& world) {
    floats data(10'000);
    allfold::reduce<allfold::direct>(world, data, world.rank() == 1 ? 0 : 2);
  });
  check_all(all, ending::mismatch, {"root 0", "root 2", "failures.cu:"});
}

TEST_CASE("a communicator that has failed refuses further calls") {
  std::vector<outcome> later(3);
  run(3, [&](world& world) {
    floats data(world.rank() == 1 ? 11u : 10u), good(10);
    const outcome first = attempt([&] { allfold::all_reduce(world, data); });
    later[at(world.rank())] = attempt([&] { allfold::all_reduce(world, good); });
    if (first.told()) throw std::runtime_error{"as it should"};
  });
  check_all(later, ending::mismatch, {"rank 1 calls all_reduce #"});
}

TEST_CASE("arguments that can't be right") {
  auto all = run(3, [](world& world) {
    floats input(9), output(world.rank() == 1 ? 10u : 9u);
    allfold::all_reduce(world, input, output);
  });
  check_all(all, ending::usage, {"rank 1", "the output has 10 elements where 9 are needed"});
  all = run(3, [](world& world) {
    floats data(100);
    const auto whole = allfold::span_of(data);
    if (world.rank() == 2)
      allfold::all_reduce(world, whole.subspan(0, 60), whole.subspan(40, 60));
    else
      allfold::all_reduce(world, whole.subspan(0, 40), whole.subspan(60, 40));
  });
  for (const outcome& each : all) CHECK(each.told());
  CHECK(all[2].says("overlap"));
  check_that_it_works();
}

TEST_CASE("a GPU that does not exist, and more ranks than kernels know") {
  const auto spawn = [](const std::vector<int>& gpus) {
    return attempt([&] { allfold::cuda::spawn(gpus, [](auto&) {}); });
  };
  CHECK(spawn({0, 999}).how == ending::usage);
  CHECK(spawn({0, 999}).says("there is no GPU 999"));
  CHECK(spawn({-1}).says("there is no GPU -1"));
  CHECK(spawn(test::on_one_gpu(allfold::device::max_ranks + 1)).how == ending::usage);
  CHECK_FALSE(spawn(test::on_one_gpu(2)).told());
  check_that_it_works();
}

// ---- ranks that are lost ----

TEST_CASE("a rank that throws is named by the others, and its exception comes out of spawn") {
  const auto body = [](world& world) {
    floats data(10'000);
    for (int i = 0; i < 20; ++i) {
      if (world.rank() == 1 && i == 10) throw std::runtime_error{"out of memory"};
      allfold::all_reduce<allfold::ring>(world, data);
    }
  };
  for (int round = 0; round < 20; ++round) {
    const auto all = run(3, body);
    CHECK(all[1].text == "out of memory");
    for (const int rank : {0, 2}) {
      CAPTURE(all[at(rank)].text);
      CHECK(all[at(rank)].how == ending::lost);
      CHECK(all[at(rank)].says("rank 1 threw: out of memory"));
    }
  }
  CHECK_THROWS_WITH_AS(test::run_world(3, body), "out of memory", std::runtime_error);
  check_that_it_works();
}

TEST_CASE("a rank that leaves early is missed") {
  const auto all = run(2, [](world& world) {
    floats data(10'000);
    if (world.rank() == 0) allfold::all_reduce(world, data);
  });
  CAPTURE(all[0].text);
  CHECK(all[0].how == ending::lost);
  CHECK(all[0].says("rank 1 has left"));
  check_that_it_works();
}

TEST_CASE("a rank that does not come in time") {
  check_that_it_works();  // so that the time limit is not spent on starting CUDA
  const auto all = run(
      2,
      [](world& world) {
        floats data(10'000);
        allfold::all_reduce(world, data);
        if (world.rank() == 1) std::this_thread::sleep_for(4s);
        allfold::all_reduce(world, data);
      },
      2s);
  CAPTURE(all[0].text);
  CHECK(all[0].how == ending::timeout);
  CHECK(all[0].says("rank 1"));
  check_that_it_works();
}

// ---- what kernels find ----

TEST_CASE("a kernel that waits too long for another rank gives up and says for whom") {
  check_that_it_works();
  const auto all = run(
      3,
      [](world& world) {
        floats data = ones_and_magic(world);
        allfold::all_reduce<allfold::direct>(world, data, dawdling_sum{6'000'000'000});
      },
      2s);
  check_all(all, ending::timeout,
            {"the kernel of rank ", "has waited too long for rank 2 to complete step 0",
             "all_reduce #", "(direct, 100000 x float", "failures.cu:"});
}

TEST_CASE("what a companion's kernels find is thrown by the communicator itself too") {
  check_that_it_works();
  const auto all = run(
      3,
      [](world& world) {
        test::world beside = world.companion();
        floats data = ones_and_magic(world);
        // It may be told of it before it returns, and must then be told to others all the same.
        const outcome its = attempt([&] {
          allfold::all_reduce<allfold::direct>(beside, data, dawdling_sum{6'000'000'000});
          beside.synchronize();
        });
        if (!its.told()) throw std::runtime_error{"the companion has found nothing"};
        world.synchronize();
      },
      2s);
  check_all(all, ending::timeout,
            {"of a companion", "the kernel of rank ",
             "has waited too long for rank 2 to complete step 0"});
}

TEST_CASE("a kernel that waits less long than it may is none the worse for it") {
  test::failures list;
  test::run_world(3, [&](world& world) {
    floats data = ones_and_magic(world);
    allfold::all_reduce<allfold::direct>(world, data, dawdling_sum{300'000'000});
    on_device::expect(
        on_device::fetched(world, data),
        [](std::size_t i) { return i + 1 == long_count ? dawdling_sum::magic + 2 : 3.0f; },
        "the sum", list);
  });
  CHECK_NONE(list);
}

TEST_CASE("abort reaches ranks whose kernels wait, and those that call later") {
  for (const int culprit : {0, 1, 2}) {
    const auto all = run(3, [culprit](world& world) {
      floats data = ones_and_magic(world);
      allfold::all_reduce<allfold::direct>(world, data, dawdling_sum{1'000'000'000});
      if (world.rank() == culprit) world.abort("the loss is not a number");
      allfold::all_reduce<allfold::direct>(world, data);
    });
    check_all(all, ending::usage,
              {"rank " + std::to_string(culprit) + " gives up: the loss is not a number"});
  }
}

// ---- what is no failure ----

TEST_CASE("a rank's stream that is held back holds the collective back, without a time limit") {
  check_that_it_works();
  test::failures list;
  test::run_world(
      3,
      [&](world& world) {
        on_device::tally it{world, 20'000};
        it.give<allfold::direct>(world);
        if (world.rank() == 1)
          allfold::cuda::check(
              cudaLaunchHostFunc(
                  world.stream(), [](void*) { std::this_thread::sleep_for(3s); }, nullptr),
              "cudaLaunchHostFunc");
        it.give<allfold::ring>(world);
        it.check(world, 2, "held back", list);
      },
      2s);
  CHECK_NONE(list);
}
