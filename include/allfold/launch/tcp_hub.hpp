// Rank 0's part of a meeting over TCP. Needs Asio without Boost: libasio-dev.
#pragma once

#include <algorithm>
#include <allfold/launch/tcp_guests.hpp>
#include <cstring>
#include <map>
#include <optional>

namespace allfold::detail {

/// Rank 0 collects the others' bytes and sends all to all of them. When something goes wrong it
/// tells everybody what, so that all ranks throw the same.
class tcp_hub : public tcp_part {
 public:
  /// Returns when all have come.
  explicit tcp_hub(const tcp_world& world)
      : world_{world},
        seats_(static_cast<std::size_t>(world.size)),
        guests_{world_, seats_.size() + 64, [this](const tcp_guests::guest& who) { greet(who); }} {
    const auto deadline = deadline_after(world_.timeout);
    await(phase::coming, deadline);
    for (int rank = 1; rank < world_.size; ++rank)
      of(rank).line->send({tcp_frame::type::all_here}, settles(rank));
    await(phase::settling, deadline);
    guests_.close();
    look();  // what was under way is given up
    phase_ = phase::idle;
  }
  tcp_hub(const tcp_hub&) = delete;
  tcp_hub& operator=(const tcp_hub&) = delete;
  ~tcp_hub() override {
    for (const seat& each : seats_)
      if (each.line) each.line->close();
  }

  void exchange(std::uint64_t number, const void* mine, std::size_t size, void* all) override {
    const auto deadline = deadline_after(world_.timeout);
    number_ = number;
    size_ = size;
    all_ = static_cast<char*>(all);
    if (size != 0) std::memmove(all_, mine, size);
    for (seat& each : seats_) each.here = each.settled = false;
    phase_ = phase::collecting;
    for (int rank = 1; rank < world_.size; ++rank) {
      if (!of(rank).lost.empty()) break_off(trouble::lost, of(rank).lost);
      if (of(rank).early) take_bytes(rank);
    }
    await(phase::collecting, deadline);
    require_sizes();
    const std::size_t total = size * seats_.size();
    const tcp_frame reply{tcp_frame::type::bytes, number, total};
    for (int rank = 1; rank < world_.size; ++rank)
      of(rank).line->send(reply.packed_head(), all, total, settles(rank));
    await(phase::settling, deadline);
    phase_ = phase::idle;
  }

 private:
  enum class phase { coming, collecting, settling, idle, over };
  struct seat {
    std::shared_ptr<tcp_channel> line;
    bool here = false;               ///< its bytes have come
    bool settled = false;            ///< all that was sent to it is on its way
    std::uint64_t size = 0;          ///< of its bytes
    std::optional<tcp_frame> early;  ///< bytes that have not been taken
    std::string lost;                ///< why it is, if it is
  };

  seat& of(int rank) { return seats_[static_cast<std::size_t>(rank)]; }
  std::string here() const {
    return (!guests_.closed() ? "the first meeting" : "exchange #" + std::to_string(number_)) +
           " at " + world_.place() + ": ";
  }
  /// The ranks that the present phase waits for.
  std::vector<int> missing() {
    std::vector<int> ranks;
    for (int rank = 1; rank < world_.size; ++rank) {
      const seat& its = of(rank);
      const bool done = phase_ == phase::coming       ? its.line != nullptr
                        : phase_ == phase::collecting ? its.here
                                                      : its.settled;
      if (!done) ranks.push_back(rank);
    }
    return ranks;
  }
  void await(phase now, tcp_clock::time_point deadline) {
    phase_ = now;
    const bool done =
        run_until(world_.io, deadline, [&] { return trouble_ || impatient_ || missing().empty(); });
    if (!done || now == phase::collecting) look();  // what has come already is not missing
    if (!trouble_ && !missing().empty()) time_is_over();
    impatient_.reset();
    if (trouble_) tell_all();
  }
  /// Does what can be done at once.
  void look() {
    world_.io.restart();
    world_.io.poll();
  }

  // ---- who comes ----

  void greet(const tcp_guests::guest& who) {
    const auto rank = static_cast<int>(who->hello.rank);
    const bool possible = rank > 0 && rank < world_.size;
    if (trouble_) {
      if (possible) of(rank).settled = true;
      return guests_.turn_away(who, trouble_->first, trouble_->second);
    }
    // A rank that has met already may be at the next meeting.
    if (phase_ != phase::coming) return guests_.hang_up(who);
    const std::string name = "rank " + std::to_string(rank);
    std::string disagreement;
    if (who->hello.version != tcp_hello::own_version)
      disagreement = "the ranks are of different versions of the library: rank 0 speaks version " +
                     std::to_string(tcp_hello::own_version) + ", " + name + " version " +
                     std::to_string(who->hello.version);
    else if (static_cast<int>(who->hello.size) != world_.size)
      disagreement = "the ranks disagree about their number: rank 0 says " +
                     std::to_string(world_.size) + ", " + name + " says " +
                     std::to_string(who->hello.size);
    if (!disagreement.empty()) {
      if (possible) of(rank).settled = true;
      guests_.turn_away(who, trouble::mismatch, disagreement);
      return break_off(trouble::mismatch, disagreement);
    }
    if (!possible || of(rank).line) {
      const bool exists = possible || rank == 0;
      guests_.note((exists ? "a second " : "a ") + name + ", " + who->line->peer() +
                   ", was turned away");
      return guests_.turn_away(
          who, trouble::misuse,
          !exists     ? "there is no " + name + " among " + std::to_string(world_.size) + " ranks"
          : !possible ? "this rank is taken already"
                      : "this rank is taken already, by the process at " + of(rank).line->peer());
    }
    of(rank).line = guests_.seat(who);
    of(rank).line->send({tcp_frame::type::seated, tcp_hello::own_version},
                        [this, rank](const asio::error_code& error) {
                          if (error) lose(rank, error);
                        });
    hear(rank);
  }

  // ---- what they say ----

  void hear(int rank) {
    of(rank).line->take_frame([this, rank](const asio::error_code& error, const tcp_frame& said) {
      if (error) return lose(rank, error);
      if (said.kind == tcp_frame::type::bytes) {
        of(rank).early = said;
        if (phase_ == phase::collecting) take_bytes(rank);
        return;
      }
      if (phase_ != phase::settling) impatient_.emplace(rank, said.number);
      hear(rank);
    });
  }
  /// Of bytes of another size than rank 0's only the size is taken.
  void take_bytes(int rank) {
    seat& its = of(rank);
    if (its.early->number != number_)
      return break_off(trouble::mismatch, "rank " + std::to_string(rank) +
                                              " brings bytes for exchange #" +
                                              std::to_string(its.early->number));
    its.size = its.early->payload;
    its.early.reset();
    if (its.size != size_) {
      its.here = true;
      return;
    }
    its.line->take(all_ + static_cast<std::size_t>(rank) * size_, size_,
                   [this, rank](const asio::error_code& error, std::size_t) {
                     if (error) return lose(rank, error);
                     of(rank).here = true;
                     hear(rank);
                   });
  }
  tcp_channel::ended settles(int rank) {
    of(rank).settled = false;
    return [this, rank](const asio::error_code& error) {
      if (error) return lose(rank, error);
      of(rank).settled = true;
    };
  }

  // ---- what goes wrong ----

  void require_sizes() {
    std::map<std::uint64_t, std::vector<int>> sizes{{size_, {0}}};
    for (int rank = 1; rank < world_.size; ++rank) sizes[of(rank).size].push_back(rank);
    if (sizes.size() == 1) return;
    std::string text = "the ranks exchange different numbers of bytes";
    for (const auto& [size, ranks] : sizes)
      text += "\n  " + ranks_in_words(ranks) + ": " + std::to_string(size);
    break_off(trouble::mismatch, text);
    tell_all();
  }
  void lose(int rank, const asio::error_code& error) {
    seat& its = of(rank);
    its.lost = "rank " + std::to_string(rank) + " has left or is lost: its connection (" +
               its.line->peer() + ") has ended: " + error.message();
    // Who has got all there is may go.
    if (phase_ != phase::idle && !(phase_ == phase::settling && its.settled))
      break_off(trouble::lost, its.lost);
  }
  void time_is_over() {
    const std::vector<int> ranks = missing();
    const int rank = impatient_ ? impatient_->first : 0;
    const std::string time = impatient_ ? std::to_string(impatient_->second) + " ms"
                                        : milliseconds_in_words(world_.timeout);
    break_off(trouble::timeout,
              "rank " + std::to_string(rank) + " has waited " + time + " for " +
                  ranks_in_words(ranks) + ", which " + (ranks.size() == 1 ? "has" : "have") +
                  (phase_ == phase::settling ? " not read what was sent" : " not come") +
                  (guests_.closed() ? "" : guests_.noted()));
  }
  /// The first trouble counts.
  void break_off(trouble kind, const std::string& text) {
    if (!trouble_) trouble_.emplace(kind, text);
  }
  /// And those who come within a second.
  [[noreturn]] void tell_all() {
    phase_ = phase::over;
    const auto& [kind, why] = *trouble_;
    const std::string text = here() + why;
    for (int rank = 1; rank < world_.size; ++rank)
      if (of(rank).line && of(rank).lost.empty())
        of(rank).line->send(
            {tcp_frame::type::trouble, static_cast<std::uint64_t>(kind), text.size(), text},
            settles(rank));
    run_until(world_.io, deadline_after(tcp_part::grace), [&] {
      return std::all_of(seats_.begin() + 1, seats_.end(),
                         [](const seat& each) { return !each.lost.empty() || each.settled; });
    });
    throw_trouble(kind, world_.who() + text);
  }

  tcp_world world_;
  std::vector<seat> seats_;
  tcp_guests guests_;
  std::optional<std::pair<trouble, std::string>> trouble_;
  std::optional<std::pair<int, std::uint64_t>> impatient_;  ///< a rank, and for how many ms
  phase phase_ = phase::coming;
  std::uint64_t number_ = 0;
  std::size_t size_ = 0;
  char* all_ = nullptr;
};

}  // namespace allfold::detail
