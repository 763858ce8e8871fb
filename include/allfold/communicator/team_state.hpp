// What ranks that are processes keep in the memory that all have mapped.
#pragma once

#include <allfold/communicator/patience.hpp>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/process_watch.hpp>
#include <allfold/communicator/spoken_call.hpp>
#include <new>

namespace allfold::processes {

using host::failure_kind;

/// How many of a rank's last calls are kept for messages.
inline constexpr std::uint64_t remembered = 32;

/// A rank's part of a team's state. Written by that rank, but for `process`.
struct seat : host::record {
  std::atomic<std::int32_t> process{0};   ///< its number in the system; 0 before it is known
  std::atomic<std::uint64_t> begin{0};    ///< of the process; 0 before it has joined
  std::atomic<int> arrived{0};            ///< how far it has come in `team::connect`
  const std::uint64_t* sample = nullptr;  ///< something in its own memory, to be read by others
  spoken_call said[remembered];
  call_sites sites;
  host::failure_kind thrown_kind;  ///< of what it threw, if that is not empty
  char thrown[1024];               ///< by `spawn_processes`, when it is through
};

/// The head of a team's state, before the seats and the posts. All bits zero are a good beginning.
struct team_head {
  static constexpr std::size_t longest_text = 3800;
  std::atomic<int> failure;  ///< 0: none, 1: being written, 2: complete
  failure_kind kind;
  int origin;
  std::atomic<bool> no_single_copy;  ///< some rank can't read another's memory
  char text[longest_text + 1];
};

/// A team's state as anyone sees it who has the memory mapped: the head, the seats, the posts.
class team_state {
 public:
  /// The state of a team of `size` ranks that lies at `place`.
  team_state(std::byte* place, int size) : place_{place}, size_{size} {}

  /// How many bytes it takes.
  static std::size_t bytes_for(int size) {
    return posts_at(size) + static_cast<std::size_t>(size) * host::window * sizeof(host::post);
  }
  /// Begins it. `process_of(rank)` is the number of the rank's process if that is known already,
  /// or 0.
  template <class Known>
  void make(Known process_of) {
    std::memset(place_, 0, sizeof(team_head));
    new (place_) team_head;
    for (int rank = 0; rank < size_; ++rank)
      (new (place_ + seat_at(rank)) seat)->process.store(process_of(rank));
    const std::size_t posts = static_cast<std::size_t>(size_) * host::window;
    for (std::size_t i = 0; i < posts; ++i)
      new (place_ + posts_at(size_) + i * sizeof(host::post)) host::post;
  }

  int size() const { return size_; }
  team_head& head() const { return *std::launder(reinterpret_cast<team_head*>(place_)); }
  seat& of(int rank) const {
    return *std::launder(reinterpret_cast<seat*>(place_ + seat_at(rank)));
  }
  host::post& post_of(int rank, std::uint64_t number) const {
    const auto index = static_cast<std::size_t>(rank) * host::window + number % host::window;
    return *std::launder(
        reinterpret_cast<host::post*>(place_ + posts_at(size_) + index * sizeof(host::post)));
  }

  bool failed() const { return head().failure.load() != 0; }
  /// Records why the team fails, unless it has failed before. Any thread of any process may call.
  void fail(failure_kind kind, int origin, const std::string& text) const {
    int none = 0;
    if (!head().failure.compare_exchange_strong(none, 1)) return;
    head().kind = kind;
    head().origin = origin;
    const std::size_t length = std::min(text.size(), team_head::longest_text);
    std::memcpy(head().text, text.data(), length);
    head().text[length] = '\0';
    head().failure.store(2);
  }
  /// The rank that saw the failure first, or −1.
  int origin() const { return await_text() ? head().origin : -1; }
  failure_kind kind() const { return await_text() ? head().kind : failure_kind::lost; }
  /// The failure's text; empty if there is none.
  std::string text() const {
    if (!failed()) return {};
    return await_text() ? head().text : "a rank ended before it could say what failed";
  }
  /// True if nobody uses the state any more: every rank has left, or its process has ended.
  bool all_left() const {
    for (int rank = 0; rank < size_; ++rank) {
      if (of(rank).left.load()) continue;
      const process_status now = status_of(of(rank).process.load());
      if (now.state != 0 && now.state != 'Z') return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t seats_at = (sizeof(team_head) + page - 1) / page * page;
  static std::size_t seat_at(int rank) {
    return seats_at + static_cast<std::size_t>(rank) * sizeof(seat);
  }
  static std::size_t posts_at(int size) { return (seat_at(size) + page - 1) / page * page; }

  /// Waits for the text of a failure. Whoever writes it may have been killed meanwhile.
  bool await_text() const {
    patience waiting{true, std::chrono::seconds{1}};
    while (head().failure.load() == 1)
      if (waiting.pass() && waiting.expired()) return false;
    return head().failure.load() == 2;
  }

  std::byte* place_;
  int size_;
};

}  // namespace allfold::processes
