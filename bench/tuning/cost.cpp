// What schedules will cost, by allfold::predicted_seconds.
//   bench_cost [CORES]
//
// Reads lines "COLLECTIVE ALGORITHM RANKS BYTES PIECES CALL LATENCY MESSAGE BYTE FOLDED_BYTE" on
// standard input, the last five being the members of allfold::machine_cost, and answers each with a
// number of seconds. BYTES are those of the whole. With 0 PIECES the schedule is taken as the
// library runs it on threads on so many CORES, all that there are if left out: short messages
// through slots, long ones in as many pieces as it likes.
#include "../collectives/algorithms.hpp"

#include <allfold/schedule/cost.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

using world_type = allfold::threads::communicator;

struct question {
  std::string collective, algorithm;
  int ranks = 1;
  double bytes = 0;
  int pieces = 0;
  allfold::machine_cost costs;
};

question parse(const std::string& line) {
  std::istringstream words{line};
  question it;
  allfold::machine_cost& costs = it.costs;
  words >> it.collective >> it.algorithm >> it.ranks >> it.bytes >> it.pieces >> costs.call >>
      costs.latency >> costs.message >> costs.byte >> costs.folded_byte;
  if (!words || it.ranks < 1 || it.pieces < 0)
    throw std::invalid_argument{"not a question: " + line};
  return it;
}

/// Whether threads take the schedule for short messages instead. A slot's worth depends on whether
/// ranks outnumber cores, which a communicator knows.
bool is_short(allfold::collective what, const question& it, int cores) {
  const auto team = std::make_shared<allfold::threads::team>(
      it.ranks, allfold::threads::team_options{.crowded = it.ranks > cores});
  const bool gives_share = allfold::holds_own_chunk(what, allfold::buffer::input);
  const double given = gives_share ? it.bytes / it.ranks : it.bytes;
  return given <= static_cast<double>(allfold::detail::longest_small(world_type{team, 0}, what));
}

template <class Schedule>
double seconds(const Schedule& plan, const question& it, int cores) {
  if (it.pieces > 0)
    return allfold::predicted_seconds(plan, it.ranks, it.bytes, it.costs, it.pieces);
  if constexpr (allfold::detail::has_small<float, world_type, Schedule>)
    if (is_short(Schedule::kind, it, cores))
      return seconds(allfold::detail::small_of(plan), it, cores);
  const int pieces =
      allfold::detail::pieces_of<world_type>(plan, it.ranks, static_cast<std::size_t>(it.bytes));
  return allfold::predicted_seconds(plan, it.ranks, it.bytes, it.costs, pieces);
}

double answer(const question& it, int cores) {
  double found = -1;
  for (int i = 0; i <= static_cast<int>(allfold::collective::barrier); ++i) {
    const auto what = static_cast<allfold::collective>(i);
    if (allfold::name_of(what) != it.collective) continue;
    bench::with_collective(what, [&]<allfold::collective What>() {
      bench::for_each_algorithm([&]<class Algorithm>() {
        if constexpr (bench::offers<Algorithm, What>()) {
          const auto plan = allfold::detail::schedule_of<What, Algorithm>();
          if constexpr (allfold::schedule<std::remove_const_t<decltype(plan)>>)
            if (bench::algorithm_name<Algorithm> == it.algorithm) found = seconds(plan, it, cores);
        }
      });
    });
  }
  if (found < 0) throw std::invalid_argument{"there is no " + it.collective + " " + it.algorithm};
  return found;
}

}  // namespace

int main(int argc, char** argv) try {
  const int cores = argc > 1 ? std::atoi(argv[1]) : allfold::usable_cores();
  for (std::string line; std::getline(std::cin, line);)
    std::printf("%.17g\n", answer(parse(line), cores));
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench_cost: %s\n", error.what());
  return 1;
}
