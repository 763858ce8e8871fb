// What the library's checks cost: its own schedules and execution over a port that checks nothing.
//
// The same protocol as host::membership, without what makes it safe: no description of the call
// with its place in the source, no fingerprint and none compared, no look at whether another rank
// has failed or left, no limit to a wait.
#pragma once

#include <allfold/communicator/team.hpp>
#include <allfold/execution/host.hpp>
#include <allfold/schedule/direct.hpp>
#include <vector>

namespace peers {

/// One rank's port into a team that is used by ports like this alone. Satisfies host_port.
class bare_port {
 public:
  bare_port(allfold::threads::team& shared, int rank)
      : team_{shared}, rank_{rank}, peers_(static_cast<std::size_t>(shared.size())) {}

  int rank() const { return rank_; }
  int size() const { return team_.size(); }

  void enter(float* data, std::size_t slot_bytes) {
    limit_lead();
    allfold::threads::post& own = team_.post_of(rank_, number_);
    own.input = own.output = data_ = reinterpret_cast<std::byte*>(data);
    if (slot_bytes > 0) std::memcpy(own.slot, data, slot_bytes);
    peers_[at(rank_)] = {number_ + 1, &own};
    own.stamp.store(number_ + 1, std::memory_order_release);
  }
  void leave(std::uint64_t turns) {
    base_ += turns;
    ++calls_;
    team_.of(rank_).completed.store(++number_, std::memory_order_release);
  }

  std::byte* address(int peer, allfold::buffer where) {
    if (peer == rank_ && where != allfold::buffer::slot) return data_;
    allfold::threads::post& its = contact(peer);
    return where == allfold::buffer::slot ? its.slot : its.input;  // in place, without scratch
  }
  void wait_entered(int peer) { contact(peer); }
  void wait_progress(int peer, std::uint64_t turns) {
    contact(peer);
    const std::uint64_t target = base_ + turns;
    std::atomic<std::uint64_t>& progress = team_.of(peer).progress;
    wait([&] { return progress.load(std::memory_order_acquire) >= target; });
  }
  void publish(std::uint64_t turns) {
    team_.of(rank_).progress.store(base_ + turns, std::memory_order_release);
  }
  void begin_folding() {}
  void end_folding() {}
  void moved(std::uint64_t read, std::uint64_t written) {
    read_ += read;
    written_ += written;
  }

 private:
  struct peer_state {
    std::uint64_t met = 0;
    allfold::threads::post* said = nullptr;
  };

  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

  allfold::threads::post& contact(int peer) {
    peer_state& its = peers_[at(peer)];
    if (its.met != number_ + 1) {
      allfold::threads::post& said = team_.post_of(peer, number_);
      wait([&] { return said.stamp.load(std::memory_order_acquire) >= number_ + 1; });
      its = {number_ + 1, &said};
    }
    return *its.said;
  }

  /// No check: without it a post could be written anew while another rank reads it.
  void limit_lead() {
    using allfold::threads::longest_lead;
    if (number_ % longest_lead != 0 || number_ < longest_lead) return;
    const std::uint64_t last = number_ - longest_lead;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank_ || peers_[at(peer)].met > last + 1) continue;
      std::atomic<std::uint64_t>& completed = team_.of(peer).completed;
      wait([&] { return completed.load(std::memory_order_acquire) > last; });
    }
  }

  template <class Ready>
  void wait(Ready ready) {
    allfold::patience waiting{team_.options().crowded, {}};
    while (!ready()) waiting.pass();
  }

  allfold::threads::team& team_;
  int rank_;
  std::byte* data_ = nullptr;
  std::uint64_t number_ = 0, base_ = 0;
  std::uint64_t calls_ = 0, read_ = 0, written_ = 0;
  std::vector<peer_state> peers_;
};

/// all_reduce<direct> of floats, summed in place, as the collective runs it.
inline void all_reduce_without_checks(bare_port& port, float* data, std::size_t count) {
  const auto run = [&]<class Schedule>(const Schedule& plan, std::size_t slot_bytes) {
    const allfold::partition parts{count, plan.chunks(port.size()), 1, 64 / sizeof(float)};
    port.enter(data, slot_bytes);
    port.leave(allfold::run_on_host<float>(port, plan, parts, allfold::sum{}));
  };
  if (count * sizeof(float) <= allfold::threads::slot_bytes)
    run(allfold::one_shot{}, count * sizeof(float));
  else
    run(allfold::direct{}, 0);
}

}  // namespace peers
