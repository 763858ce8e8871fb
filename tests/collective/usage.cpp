// Calls that can't be right whatever the other ranks do: refused on every rank, with the reason.
#include <allfold/allfold.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using world_type = allfold::threads::communicator;
using list = std::vector<int>;
using counts = std::vector<std::size_t>;

/// Three ranks call something; each must get a usage_error that names the culprit, the collective
/// and this file, and gives the reason.
void refused(std::string_view collective, std::string_view reason, int culprit,
             const std::function<void(world_type&)>& call) {
  constexpr int ranks = 3;
  std::vector<std::string> told(ranks, "nothing was thrown");
  const auto thrown =
      allfold::try_spawn(ranks,
                         [&](world_type& world) {
                           std::string& mine = told[static_cast<std::size_t>(world.rank())];
                           try {
                             call(world);
                             allfold::barrier(world);
                           } catch (const allfold::usage_error& error) {
                             mine = error.what();
                             throw;
                           } catch (const std::exception& other) {
                             mine = std::string{"not a usage_error: "} + other.what();
                             throw;
                           }
                         },
                         {.timeout = std::chrono::seconds{20}});
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string& text = told[static_cast<std::size_t>(rank)];
    INFO("rank ", rank, " was told: ", text);
    const auto says = [&](std::string_view part) { return text.find(part) != text.npos; };
    CHECK(says("allfold: rank " + std::to_string(rank)));
    if (culprit >= 0) CHECK(says("rank " + std::to_string(culprit)));
    CHECK(says(collective));
    CHECK(says("usage.cpp:"));
    CHECK(says(reason));
    CHECK(thrown[static_cast<std::size_t>(rank)]);
  }
}
constexpr int all_of_them = -1;

std::size_t index_of(world_type& world) { return static_cast<std::size_t>(world.rank()); }

}  // namespace

TEST_CASE("output and input of another size") {
  const auto wrong = [](world_type& world, std::size_t right) {
    return list(world.rank() == 1 ? right + 1 : right);
  };
  refused("all_reduce", "the output has 11 elements where 10 are needed", 1, [&](auto& world) {
    list input(10), output = wrong(world, 10);
    allfold::all_reduce(world, input, output);
  });
  refused("reduce", "the output has 11 elements where 10 are needed", 1, [&](auto& world) {
    list input(10), output = wrong(world, 10);
    allfold::reduce(world, input, output, 1);
  });
  refused("broadcast", "the output has 11 elements where 10 are needed", 1, [&](auto& world) {
    list input(10), output = wrong(world, 10);
    allfold::broadcast(world, input, output, 1);
  });
  refused("reduce_scatter", "the output has 5 elements where 4 are needed", 1, [&](auto& world) {
    list input(12), output = wrong(world, 4);
    allfold::reduce_scatter(world, input, output);
  });
  refused("all_gather", "the input has 5 elements where 4 are needed", 1, [&](auto& world) {
    list input = wrong(world, 4), output(12);
    allfold::all_gather(world, input, output);
  });
  refused("scatter", "the input has 13 elements where 12 are needed", 1, [&](auto& world) {
    list input = wrong(world, 12), output(4);
    allfold::scatter(world, input, output, 1);
  });
  refused("gather", "the output has 13 elements where 12 are needed", 1, [&](auto& world) {
    list input(4), output = wrong(world, 12);
    allfold::gather(world, input, output, 1);
  });
  refused("all_to_all", "the output has 13 elements where 12 are needed", 1, [&](auto& world) {
    list input(12), output = wrong(world, 12);
    allfold::all_to_all(world, input, output);
  });
}

TEST_CASE("what can't be divided evenly") {
  const std::string_view reason = "has 13 elements, which can't be divided evenly over 3 ranks";
  refused("reduce_scatter", reason, all_of_them, [](auto& world) {
    list data(13), output(4);
    allfold::reduce_scatter(world, data, output);
  });
  refused("reduce_scatter", reason, 2, [](auto& world) {
    list data(world.rank() == 2 ? 13 : 12);
    allfold::reduce_scatter(world, data);
  });
  refused("all_gather", reason, all_of_them, [](auto& world) {
    list input(4), output(13);
    allfold::all_gather(world, input, output);
  });
  refused("all_to_all", reason, all_of_them, [](auto& world) {
    list input(13), output(13);
    allfold::all_to_all(world, input, output);
  });
  refused("all_to_all", reason, 0, [](auto& world) {
    list data(world.rank() == 0 ? 13 : 12);
    allfold::all_to_all(world, data);
  });
}

TEST_CASE("a root that does not exist") {
  for (const int root : {-1, 3, 100}) {
    const std::string reason =
        "there is no rank " + std::to_string(root) + " to be the root among 3 ranks";
    refused("reduce", reason, all_of_them, [&](auto& world) {
      list mine(5);
      allfold::reduce(world, mine, root);
    });
    refused("broadcast", reason, all_of_them, [&](auto& world) {
      list mine(5);
      allfold::broadcast(world, mine, root);
    });
    refused("scatter", reason, all_of_them, [&](auto& world) {
      list all(12), mine(4);
      allfold::scatter(world, all, mine, root);
    });
    refused("gather", reason, 2, [&](auto& world) {
      list all(12), mine(4);
      allfold::gather(world, mine, all, world.rank() == 2 ? root : 0);
    });
  }
}

TEST_CASE("a primary that does not exist") {
  refused("all_reduce", "there is no rank 3", all_of_them, [](auto& world) {
    list mine(5);
    allfold::all_reduce<allfold::primary<3>>(world, mine);
  });
}

TEST_CASE("counts per rank that don't fit") {
  refused("all_gather", "2 counts are given for 3 ranks", 1, [](auto& world) {
    list input(1), output(3);
    allfold::all_gather(world, input, output, world.rank() == 1 ? counts{1, 1} : counts{1, 1, 1});
  });
  refused("all_gather", "0 counts are given for 3 ranks", all_of_them, [](auto& world) {
    list input, output;
    allfold::all_gather(world, input, output, counts{});
  });
  refused("scatter", "0 counts are given for 3 ranks", all_of_them, [](auto& world) {
    list input, output;
    allfold::scatter(world, input, output, counts{});
  });
  refused("gather", "4 counts are given for 3 ranks", all_of_them, [](auto& world) {
    list input, output;
    allfold::gather(world, input, output, counts(4, 0));
  });
  const counts by{1, 2, 3};
  refused("all_gather", "the input has 3 elements where 2 are needed", 1, [&](auto& world) {
    list input(world.rank() == 1 ? 3 : by[index_of(world)]), output(6);
    allfold::all_gather(world, input, output, by);
  });
  refused("all_gather", "the output has 7 elements where 6 are needed", 2, [&](auto& world) {
    list input(by[index_of(world)]), output(world.rank() == 2 ? 7 : 6);
    allfold::all_gather(world, input, output, by);
  });
  refused("scatter", "the output has 0 elements where 1 are needed", 0, [&](auto& world) {
    list input(6), output(world.rank() == 0 ? 0 : by[index_of(world)]);
    allfold::scatter(world, input, output, by, 1);
  });
  refused("scatter", "the input has 5 elements where 6 are needed", 1, [&](auto& world) {
    list input(5), output(by[index_of(world)]);
    allfold::scatter(world, input, output, by, 1);
  });
  refused("gather", "the input has 0 elements where 1 are needed", 0, [&](auto& world) {
    list input(world.rank() == 0 ? 0 : by[index_of(world)]), output(6);
    allfold::gather(world, input, output, by, 1);
  });
  refused("gather", "the output has 5 elements where 6 are needed", 1, [&](auto& world) {
    list input(by[index_of(world)]), output(5);
    allfold::gather(world, input, output, by, 1);
  });
}

TEST_CASE("input and output that overlap") {
  const std::string_view reason = "overlap";
  // 24 elements, of which two overlapping stretches are input and output.
  const auto overlapping = [&](std::string_view name, std::size_t input, std::size_t output,
                               auto call) {
    for (const std::size_t output_first : {input - 1, std::size_t{1}})
      refused(name, reason, all_of_them, [&](auto& world) {
        list data(24);
        const std::span<int> all{data};
        call(world, std::span<const int>{all.first(input)}, all.subspan(output_first, output));
      });
  };
  overlapping("all_reduce", 12, 12,
              [](auto& world, auto in, auto out) { allfold::all_reduce(world, in, out); });
  overlapping("reduce", 12, 12, [](auto& world, auto in, auto out) {
    allfold::reduce(world, in, out, world.rank());
  });
  overlapping("broadcast", 12, 12, [](auto& world, auto in, auto out) {
    allfold::broadcast(world, in, out, world.rank());
  });
  overlapping("reduce_scatter", 12, 4,
              [](auto& world, auto in, auto out) { allfold::reduce_scatter(world, in, out); });
  overlapping("scatter", 12, 4, [](auto& world, auto in, auto out) {
    allfold::scatter(world, in, out, world.rank());
  });
  overlapping("gather", 4, 12, [](auto& world, auto in, auto out) {
    allfold::gather(world, in, out, world.rank());
  });
  overlapping("all_gather", 4, 12,
              [](auto& world, auto in, auto out) { allfold::all_gather(world, in, out); });
  overlapping("all_to_all", 12, 12,
              [](auto& world, auto in, auto out) { allfold::all_to_all(world, in, out); });
  // Another rank's part of the whole is not the own one.
  refused("reduce_scatter", reason, 0, [](auto& world) {
    list data(12);
    const std::size_t part = world.rank() == 0 ? 1 : index_of(world);
    allfold::reduce_scatter(world, data, std::span{data}.subspan(4 * part, 4));
  });
  refused("all_gather", reason, 0, [](auto& world) {
    list data(12);
    const std::size_t part = world.rank() == 0 ? 1 : index_of(world);
    allfold::all_gather(world, std::span{data}.subspan(4 * part, 4), data);
  });
}

TEST_CASE("the same elements as input and output are in place") {
  std::vector<list> results(3);
  allfold::spawn(3, [&](world_type& world) {
    list data(7, world.rank() + 1);
    allfold::all_reduce<allfold::ring>(world, data, data);
    results[index_of(world)] = data;
  });
  for (const list& each : results) CHECK(each == list(7, 6));
}

TEST_CASE("what is not used need not be right") {
  const auto run = [](world_type& world) {
    const bool is_root = world.rank() == 1;
    list mine(4, world.rank()), whole(is_root ? 12 : 1), none;
    allfold::reduce(world, mine, is_root ? mine : none, 1);
    allfold::broadcast(world, is_root ? mine : none, mine, 1);
    allfold::gather(world, mine, whole, 1);
    allfold::scatter(world, whole, mine, 1);
  };
  CHECK_NOTHROW(allfold::spawn(3, run));
}
