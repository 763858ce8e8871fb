// Every collective by every algorithm, taking turns in one process; ranks are threads.
//   bench_algorithms RANKS     waits for orders
//   bench_algorithms --about   tells how it was compiled
//   bench_algorithms --list    a line for each contender: the collective, its name in orders, how
//   the
//                              algorithm is spelled in C++, and in which order it folds
//   bench_algorithms --chosen  reads lines "COLLECTIVE RANKS BYTES", and tells which algorithm
//                              `automatic` takes there
//
// Before each call every rank writes what it gives, as a backward pass does, and all meet.
// Otherwise calls in a row would find elements in the caches of whoever touched them last, and an
// algorithm in which a rank always touches the same ones would seem to move nothing. `nothing` does
// only this, so that it can be taken off the others' times.
#include "../collectives/calls.hpp"
#include "../peers/serve.hpp"

#include <array>
#include <iostream>
#include <span>

namespace {

using world_type = allfold::threads::communicator;

constexpr auto collectives = [] {
  using enum allfold::collective;
  return std::array{all_reduce, reduce, broadcast,  reduce_scatter, all_gather,
                    scatter,    gather, all_to_all, barrier};
}();

/// A collective by its name.
constexpr allfold::collective collective_of(std::string_view name) {
  for (const allfold::collective each : collectives)
    if (allfold::name_of(each) == name) return each;
  throw std::invalid_argument{"unknown collective: " + std::string{name}};
}

class thread_rank {
 public:
  explicit thread_rank(world_type& joined) : world{joined} {}
  int rank() const { return world.rank(); }
  int size() const { return world.size(); }
  void send(peers::line& text) { allfold::broadcast(world, std::span{text}); }
  void meet() { allfold::barrier(world); }
  bool all_of(bool flag) {
    int all = flag ? 1 : 0;
    allfold::all_reduce(world, std::span{&all, 1}, allfold::minimum{});
    return all == 1;
  }

  using calls = void (*)(thread_rank&, peers::work&, int);
  static calls find(const std::string& collective, const std::string& contender);

  world_type& world;
};

bench::operands operands_of(peers::work& it, allfold::collective what) {
  using enum allfold::collective;
  const bool gives_share = what == all_gather || what == gather;
  const bool gets_share = what == reduce_scatter || what == scatter;
  return {reinterpret_cast<std::byte*>(it.in()), gives_share ? it.share() : it.count(),
          reinterpret_cast<std::byte*>(it.out()), gets_share ? it.share() : it.count(), 0};
}

/// Writes what this rank gives anew; the compiler cannot know that the values stay the same. Never
/// inlined: how fast such a loop runs depends on where it lies, and it must be one for all.
[[gnu::noinline]] void write_afresh(float* at, std::size_t count) {
  const volatile float unknown = 1;
  const float factor = unknown;
  for (float* const end = at + count; at != end; ++at) *at *= factor;
}

template <allfold::collective What, class Algorithm>
void freshly(thread_rank& rank, peers::work& it, int iterations) {
  const bench::operands with = operands_of(it, What);
  const bool gives = rank.rank() == 0 || (What != allfold::collective::broadcast &&
                                          What != allfold::collective::scatter);
  for (int i = 0; i < iterations; ++i) {
    if (gives && What != allfold::collective::barrier) write_afresh(it.in(), with.input_count);
    rank.meet();
    if constexpr (!std::is_void_v<Algorithm>)
      bench::repeat<What, Algorithm, float, allfold::sum>(rank.world, with, 1);
  }
}

constexpr std::string_view nothing = "nothing";

thread_rank::calls thread_rank::find(const std::string& collective, const std::string& contender) {
  return bench::with_collective(
      collective_of(collective), [&]<allfold::collective What>() -> calls {
        calls found = contender == nothing ? &freshly<What, void> : nullptr;
        bench::for_each_algorithm([&]<class Algorithm>() {
          if constexpr (bench::offers<Algorithm, What>())
            if (contender == bench::algorithm_name<Algorithm>) found = &freshly<What, Algorithm>;
        });
        return found;
      });
}

// ---- what there is ----

template <class Algorithm>
inline constexpr std::string_view spelling = bench::algorithm_name<Algorithm>;
template <>
inline constexpr std::string_view spelling<allfold::primary<>> = "primary<>";

/// By the proof: whether contributions are folded from left to right, by rank.
template <allfold::collective What, class Algorithm>
std::string_view order_of_folds() {
  using schedule = decltype(allfold::detail::schedule_of<What, Algorithm>());
  if constexpr (allfold::folds(What) && allfold::schedule<schedule>) {
    for (int ranks = 2; ranks <= 8; ++ranks)
      if (!allfold::prove<schedule>(ranks).rank_ordered) return "another_order";
    return "rank_order";
  }
  return "-";
}

void print_line(std::string_view collective, std::string_view contender, std::string_view spelled,
                std::string_view order) {
  std::cout << collective << ' ' << contender << ' ' << spelled << ' ' << order << '\n';
}

void print_contenders() {
  for (const allfold::collective what : collectives)
    bench::with_collective(what, [&]<allfold::collective What>() {
      print_line(allfold::name_of(What), nothing, "-", "-");
      bench::for_each_algorithm([&]<class Algorithm>() {
        if constexpr (bench::offers<Algorithm, What>())
          print_line(allfold::name_of(What), bench::algorithm_name<Algorithm>, spelling<Algorithm>,
                     order_of_folds<What, Algorithm>());
      });
    });
}

std::string_view chosen(allfold::collective what, int ranks, std::size_t bytes) {
  return bench::with_collective(what, [&]<allfold::collective What>() {
    const auto plan = allfold::detail::schedule_of<What, allfold::automatic>();
    std::string_view name;
    const auto note = [&](const auto& taken) { name = taken.name; };
    if constexpr (allfold::detail::is_choice<std::remove_const_t<decltype(plan)>>)
      plan.template decide<true>(ranks, bytes, ranks > allfold::usable_cores(), note);
    else
      note(plan);
    return name;
  });
}

/// What an option asks for. False if it is none.
bool answer(std::string_view option) {
  if (option == "--about") {
    std::puts(PEERS_COMPILED_WITH);
  } else if (option == "--list") {
    print_contenders();
  } else if (option == "--chosen") {
    std::string collective;
    std::size_t bytes = 0;
    for (int ranks = 0; std::cin >> collective >> ranks >> bytes;)
      std::cout << chosen(collective_of(collective), ranks, bytes) << '\n';
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && answer(argv[1])) return 0;
  const int size = argc > 1 ? std::stoi(argv[1]) : 2;
  allfold::spawn(size,
                 [&](world_type& world) {
                   thread_rank rank{world};
                   if (world.rank() == 0) peers::announce({static_cast<int>(getpid())});
                   peers::server{rank}();
                 },
                 {.timeout = std::chrono::hours{24}, .pin = true});
}
