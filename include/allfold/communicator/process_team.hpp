// What ranks that are processes share: the same as threads::team, in memory that all have mapped.
#pragma once

#include <allfold/communicator/far_memory.hpp>
#include <allfold/communicator/patience.hpp>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/process_watch.hpp>
#include <allfold/communicator/shared_world.hpp>
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

/// One process's view of a team. Used by its rank's thread, but for `fail`.
class team {
 public:
  /// Where a team of `size` ranks keeps its state, and how much it takes.
  static std::size_t bytes_for(int size) {
    return posts_at(size) + static_cast<std::size_t>(size) * host::window * sizeof(host::post);
  }
  /// Makes the state at `place`. `process_of(rank)` is its number if that is known already, or 0.
  template <class Known>
  static void make(std::byte* place, int size, Known process_of) {
    std::memset(place, 0, sizeof(team_head));
    new (place) team_head;
    for (int rank = 0; rank < size; ++rank) {
      seat* const made =
          new (place + seats_at + static_cast<std::size_t>(rank) * sizeof(seat)) seat;
      made->process.store(process_of(rank));
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(size) * host::window; ++i)
      new (place + posts_at(size) + i * sizeof(host::post)) host::post;
  }

  /// A rank's seat in the state at `place`, and the rank that saw its failure first, or −1; for
  /// who is no rank itself.
  static seat& seat_at(std::byte* place, int rank) {
    return *std::launder(
        reinterpret_cast<seat*>(place + seats_at + static_cast<std::size_t>(rank) * sizeof(seat)));
  }
  static int origin_of(std::byte* place) {
    const auto& head = *std::launder(reinterpret_cast<team_head*>(place));
    return head.failure.load() == 2 ? head.origin : -1;
  }
  /// True if nobody uses such a state any more: every rank has left, or its process has ended.
  static bool all_left(std::byte* place, int size) {
    for (int rank = 0; rank < size; ++rank) {
      const seat& its = seat_at(place, rank);
      const process_status now = its.left.load() ? process_status{} : status_of(its.process.load());
      if (now.state != 0 && now.state != 'Z') return false;
    }
    return true;
  }

  /// This process's view, as rank `rank`, of the state at `place`.
  team(std::shared_ptr<shared_world> world, std::byte* place, int size, int rank,
       host::team_options options)
      : world_{std::move(world)},
        place_{place},
        options_{options},
        size_{size},
        rank_{rank},
        speaker_{seat_of(rank).sites},
        watches_(static_cast<std::size_t>(size)) {}

  int size() const { return size_; }
  const host::team_options& options() const { return options_; }
  host::post& post_of(int rank, std::uint64_t number) {
    const auto index = static_cast<std::size_t>(rank) * host::window + number % host::window;
    return *std::launder(
        reinterpret_cast<host::post*>(place_ + posts_at(size_) + index * sizeof(host::post)));
  }
  seat& of(int rank) const { return seat_of(rank); }
  const std::shared_ptr<shared_world>& world() const { return world_; }

  void say(int rank, std::uint64_t number, const call& it) {
    seat_of(rank).said[number % remembered] = speaker_.spoken(it, number);
  }
  std::string words_of(int rank, std::uint64_t number) const {
    const seat& its = seat_of(rank);
    return processes::describe(its.said[number % remembered], its.sites);
  }

  // ---- failures ----

  bool failed() const { return head().failure.load() != 0; }
  void fail(failure_kind kind, int origin, const std::string& text) {
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
  [[noreturn]] void throw_failure(int rank, const std::string& mine) const {
    host::throw_as(kind(), "allfold: rank " + std::to_string(rank) + ", " + mine + ": " + text());
  }

  // ---- who lives ----

  static constexpr bool dies_alone = true;
  /// True if the rank has left or its process has ended. Asks the system now and then only.
  bool gone(int peer) {
    if (of(peer).left.load()) return true;
    return ++questions_ % 16 == 0 && watch(peer).ended();
  }
  /// True if its process has ended, left or not. Asks the system.
  bool dead(int peer) { return watch(peer).ended(); }
  /// What its process does; empty if it has left in good order.
  std::string state_of(int peer) {
    return of(peer).left.load() ? std::string{} : watch(peer).in_words();
  }

  // ---- memory ----

  std::byte* shown(std::byte* own) const { return world_->shown(own); }
  std::byte* reached(std::byte* its) const { return world_->reached(its); }
  static bool is_far(std::byte* its) { return shared_world::is_far(its); }
  pid_t process_of(int rank) const { return of(rank).process.load(); }
  std::size_t copy_from(int peer, const void* from, void* to, std::size_t bytes) const {
    return processes::copy_from(process_of(peer), from, to, bytes);
  }
  std::size_t copy_to(int peer, void* to, const void* from, std::size_t bytes) const {
    return processes::copy_to(process_of(peer), to, from, bytes);
  }
  /// True if ranks read and write each other's memory outside the shared region.
  bool copies_once() const { return !head().no_single_copy.load(std::memory_order_relaxed); }
  void copy_through_region() { head().no_single_copy.store(true); }

  /// A rank's scratch memory, which others may read, and its own for copies of far elements.
  class scratch {
   public:
    scratch(team& of, int) : world_{of.world_} {}
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    ~scratch() {
      if (place_ != nullptr) world_->heap().give_back(place_);
    }
    std::byte* of(std::size_t bytes) {
      if (bytes <= size_) return place_;
      if (place_ != nullptr) world_->heap().give_back(std::exchange(place_, nullptr));
      size_ = 0;
      place_ = world_->heap().take(bytes);
      size_ = bytes;
      return place_;
    }
    std::byte* own(std::size_t bytes) {
      const std::size_t lines = (bytes + sizeof(line) - 1) / sizeof(line);
      if (lines > own_.size()) own_.resize(lines);
      return own_.data()->bytes;
    }

   private:
    struct alignas(64) line {
      std::byte bytes[64];
    };
    std::shared_ptr<shared_world> world_;
    std::byte* place_ = nullptr;
    std::size_t size_ = 0;
    std::vector<line> own_;
  };

  /// Reaches others as ranks of `other` do, where the same ranks are connected already.
  void follow(const team& other) {
    if (!other.copies_once()) copy_through_region();
    seat_of(rank_).begin.store(other.of(other.rank_).begin.load());
  }
  /// The rank's process, if that is known before it has joined.
  void expect(int rank, std::int32_t process) { seat_of(rank).process.store(process); }
  /// Says who this rank is, waits for the others, and finds out with them how they reach each
  /// other's memory. Every rank calls it, before anything else. Throws if one does not come.
  void connect(bool single_copy) {
    seat& own = seat_of(rank_);
    own.process.store(getpid());
    own.sample = &sample_;
    own.begin.store(status_of(getpid()).begin);
    if (single_copy)
      let_others_copy();
    else
      copy_through_region();
    await_arrival(1);
    if (single_copy && !reads_all()) copy_through_region();
    await_arrival(2);
  }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t seats_at = (sizeof(team_head) + page - 1) / page * page;
  static std::size_t posts_at(int size) {
    return (seats_at + static_cast<std::size_t>(size) * sizeof(seat) + page - 1) / page * page;
  }
  team_head& head() const { return *std::launder(reinterpret_cast<team_head*>(place_)); }
  seat& seat_of(int rank) const { return seat_at(place_, rank); }
  process_watch& watch(int peer) {
    process_watch& its = watches_[static_cast<std::size_t>(peer)];
    if (its.process() == 0 && process_of(peer) != 0)
      its = process_watch{process_of(peer), of(peer).begin.load()};
    return its;
  }
  /// Waits for the text of a failure. Whoever writes it may have been killed meanwhile.
  bool await_text() const {
    patience waiting{options_.crowded, std::chrono::seconds{1}};
    while (head().failure.load() == 1)
      if (waiting.pass() && waiting.expired()) return false;
    return head().failure.load() == 2;
  }

  void await_arrival(int stage) {
    seat_of(rank_).arrived.store(stage);
    patience waiting{options_.crowded, options_.timeout};
    for (int peer = 0; peer < size_; ++peer)
      while (of(peer).arrived.load() < stage) {
        if (!waiting.pass()) continue;
        if (failed()) throw_failure(rank_, "while the ranks come together");
        if (gone(peer)) absent(peer, failure_kind::lost, "");
        if (waiting.expired())
          absent(peer, failure_kind::timeout,
                 " within " +
                     std::to_string(
                         std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout)
                             .count()) +
                     " ms");
      }
  }
  [[noreturn]] void absent(int peer, failure_kind how, const std::string& when) {
    const std::string state = state_of(peer);
    fail(how, rank_,
         "rank " + std::to_string(peer) + " has not joined" + when +
             (state.empty() ? "" : " (" + state + ")"));
    throw_failure(rank_, "while the ranks come together");
  }
  /// True if this process can read what others have in their own memory.
  bool reads_all() {
    for (int peer = 0; peer < size_; ++peer) {
      std::uint64_t found = 0;
      if (copy_from(peer, of(peer).sample, &found, sizeof found) != sizeof found ||
          found != sample_of)
        return false;
    }
    return true;
  }

  static constexpr std::uint64_t sample_of = 0x616c6c666f6c6421u;

  std::shared_ptr<shared_world> world_;
  std::byte* place_;
  host::team_options options_;
  int size_;
  int rank_;
  std::uint64_t sample_ = sample_of;
  call_speaker speaker_;
  std::vector<process_watch> watches_;
  unsigned questions_ = 0;
};

}  // namespace allfold::processes
