// allfold's collectives and the floors, taking turns in one process; ranks are threads.
//   bench_peer_allfold RANKS    waits for orders
//   bench_peer_allfold --about  tells how it was compiled
#include "../floor.hpp"
#include "bare_port.hpp"
#include "hardware.hpp"
#include "serve.hpp"

#include <allfold/allfold.hpp>
#include <map>
#include <memory>
#include <span>
#include <string_view>

namespace {

/// What the ranks share that are not the library's.
struct by_hand {
  explicit by_hand(int size)
      : team{size, {.crowded = size > allfold::usable_cores()}},
        two{team.options().crowded},
        four{team.options().crowded} {}
  allfold::threads::team team;
  floors::shared_state<2> two;
  floors::shared_state<4> four;
  peers::ping_pong ping_pong;
};

class thread_rank {
 public:
  thread_rank(allfold::threads::communicator& world, by_hand& shared)
      : world{world}, shared{shared}, port{shared.team, world.rank()} {}
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

  allfold::threads::communicator& world;
  by_hand& shared;
  peers::bare_port port;
  std::vector<float> copy;
};

std::span<float> whole_in(peers::work& it) { return {it.in(), it.count()}; }
std::span<float> whole_out(peers::work& it) { return {it.out(), it.count()}; }
std::span<float> share_in(peers::work& it) { return {it.in(), it.share()}; }
std::span<float> share_out(peers::work& it) { return {it.out(), it.share()}; }

template <auto Call>
void repeat(thread_rank& rank, peers::work& it, int iterations) {
  for (int i = 0; i < iterations; ++i) Call(rank, it);
}

// ---- all_reduce ----

template <class Algorithm>
void all_reduce(thread_rank& rank, peers::work& it) {
  allfold::all_reduce<Algorithm>(rank.world, whole_out(it));
}

/// Slower on purpose: shows that the comparison tells slower from faster.
void all_reduce_with_extra_copy(thread_rank& rank, peers::work& it) {
  rank.copy.assign(it.out(), it.out() + it.count());
  allfold::all_reduce<allfold::direct>(rank.world, whole_out(it));
}
void all_reduce_without_checks(thread_rank& rank, peers::work& it) {
  peers::all_reduce_without_checks(rank.port, it.out(), it.count());
}

void zero_copy(thread_rank& rank, peers::work& it, int iterations) {
  const auto run = [&](auto& shared) {
    for (int i = 0; i < iterations; ++i) shared.zero_copy(rank.rank(), it.out(), it.count());
  };
  rank.size() == 2 ? run(rank.shared.two) : run(rank.shared.four);
}
void one_hop(thread_rank& rank, peers::work& it, int iterations) {
  const auto run = [&](auto& shared) {
    for (int i = 0; i < iterations; ++i) shared.one_hop(rank.rank(), it.out(), it.count());
  };
  rank.size() == 2 ? run(rank.shared.two) : run(rank.shared.four);
}

// ---- the others ----

void broadcast(thread_rank& rank, peers::work& it) {
  allfold::broadcast(rank.world, whole_out(it));
}
void reduce(thread_rank& rank, peers::work& it) {
  allfold::reduce(rank.world, whole_in(it), whole_out(it));
}
void all_gather(thread_rank& rank, peers::work& it) {
  allfold::all_gather(rank.world, share_in(it), whole_out(it));
}
void reduce_scatter(thread_rank& rank, peers::work& it) {
  allfold::reduce_scatter(rank.world, whole_in(it), share_out(it));
}
void all_to_all(thread_rank& rank, peers::work& it) {
  allfold::all_to_all(rank.world, whole_in(it), whole_out(it));
}
void barrier(thread_rank& rank, peers::work&) { allfold::barrier(rank.world); }

// ---- the machine ----

void ping_pong(thread_rank& rank, peers::work&, int iterations) {
  rank.shared.ping_pong(rank.rank(), iterations);
}
void copy_memory(thread_rank&, peers::work& it) { peers::copy_memory(it.out(), it.count()); }
void triad(thread_rank&, peers::work& it) { peers::triad(it.out(), it.count()); }

const std::map<std::string_view, thread_rank::calls, std::less<>> contenders{
    {"all_reduce direct", repeat<all_reduce<allfold::direct>>},
    {"all_reduce ring", repeat<all_reduce<allfold::ring>>},
    {"all_reduce tree", repeat<all_reduce<allfold::tree>>},
    {"all_reduce halving_doubling", repeat<all_reduce<allfold::halving_doubling>>},
    {"all_reduce automatic", repeat<all_reduce<allfold::automatic>>},
    {"all_reduce direct_with_extra_copy", repeat<all_reduce_with_extra_copy>},
    {"all_reduce direct_without_checks", repeat<all_reduce_without_checks>},
    {"all_reduce zero_copy", zero_copy},
    {"all_reduce one_hop", one_hop},
    {"broadcast automatic", repeat<broadcast>},
    {"reduce automatic", repeat<reduce>},
    {"all_gather automatic", repeat<all_gather>},
    {"reduce_scatter automatic", repeat<reduce_scatter>},
    {"all_to_all automatic", repeat<all_to_all>},
    {"barrier automatic", repeat<barrier>},
    {"machine ping_pong", ping_pong},
    {"machine copy_memory", repeat<copy_memory>},
    {"machine triad", repeat<triad>},
};

thread_rank::calls thread_rank::find(const std::string& collective, const std::string& contender) {
  const auto at = contenders.find(collective + " " + contender);
  return at == contenders.end() ? nullptr : at->second;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view{argv[1]} == "--about") {
    std::puts(PEERS_COMPILED_WITH);
    return 0;
  }
  const int size = argc > 1 ? std::stoi(argv[1]) : 2;
  const auto shared = std::make_unique<by_hand>(size);
  allfold::spawn(size,
                 [&](allfold::threads::communicator& world) {
                   thread_rank rank{world, *shared};
                   if (world.rank() == 0) peers::announce({static_cast<int>(getpid())});
                   peers::server{rank}();
                 },
                 {.timeout = std::chrono::hours{24}, .pin = true});
}
