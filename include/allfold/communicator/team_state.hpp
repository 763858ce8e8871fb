// What ranks that are processes keep in the memory that all have mapped.
#pragma once

#include <sys/wait.h>

#include <allfold/communicator/patience.hpp>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/process_watch.hpp>
#include <allfold/communicator/spoken_call.hpp>
#include <new>

namespace allfold::processes {

using host::failure_kind;

using host::remembered;

/// A rank's part of a team's state. Written by that rank, but for `process` and `ending`.
struct seat : host::record {
  std::atomic<std::int32_t> process{0};  ///< its number in the system; 0 before it is known
  std::atomic<std::uint64_t> begin{0};   ///< of the process; 0 before it has joined
  std::atomic<int> arrived{0};           ///< how far it has come in `team::connect`
  std::atomic<int> cores{0};             ///< that the process may use; 0 before it has joined
  /// How the process ended. 0: nobody will say; 1: its parent will, when it has ended; else what
  /// `waitpid` gave, times 4, plus 2.
  std::atomic<std::int32_t> ending{0};
  /// The ranks that are left go on without it, or are about to agree on who does: for the parent.
  std::atomic<bool> left_out{false}, shrinks{false};
  std::ptrdiff_t first_at = 0;            ///< bytes from here to the process's first seat
  const std::uint64_t* sample = nullptr;  ///< something in its own memory, to be read by others
  kept_calls said;
  call_sites sites;
  host::failure_kind thrown_kind = host::failure_kind::lost;  ///< of what it threw, if that is not
                                                              ///< empty
  char thrown[1024];               ///< by `spawn_processes`, when it is through
  std::byte* successor = nullptr;  ///< the state of the team that it proposes for who is left

  /// This seat is of the same process as an older one in the same memory.
  void succeed(const seat& older) {
    process.store(older.process.load());
    begin.store(older.begin.load());
    cores.store(older.cores.load());
    first_at = address_of(older.first()) - address_of(*this);
  }
  /// The process's seat in the first team, which its parent looks at.
  seat& first() const {
    return *std::launder(reinterpret_cast<seat*>(address_of(*this) + first_at));
  }

 private:
  static std::byte* address_of(const seat& it) {
    return reinterpret_cast<std::byte*>(const_cast<seat*>(&it));
  }
};

/// The head of a team's state, before the seats and the posts. All bits zero are a good beginning.
struct team_head {
  std::uint64_t number;  ///< by which ranks that meet know the memory: see region_meeting
  static constexpr std::size_t longest_text = 3800;
  /// 0: none; else 1, plus 2 once the text is complete, plus 4 times the kind, plus 16 times the
  /// origin + 1. So kind and origin are known even if who began to write the text can't end it.
  std::atomic<std::int32_t> failure;
  std::atomic<bool> no_single_copy;   ///< some rank can't read another's memory
  std::atomic<std::int32_t> decider;  ///< 1 + the rank whose proposal says who is left; 0 before
  char text[longest_text + 1];
};

/// A team's state as anyone sees it who has the memory mapped: the head, the seats, the posts, and
/// for each rank a row of bits, for its proposal of who is left.
class team_state {
 public:
  /// The state of a team of `size` ranks that lies at `place`.
  team_state(std::byte* place, int size) : place_{place}, size_{size} {}

  /// How many bytes it takes.
  static std::size_t bytes_for(int size) {
    return rows_at(size) + static_cast<std::size_t>(size) * row_bytes(size);
  }
  /// Begins it. `process_of(rank)` is the number of the rank's process if that is known already,
  /// or 0.
  template <class Known>
  void make(Known process_of) const {
    std::memset(place_, 0, sizeof(team_head));
    new (place_) team_head;
    for (int rank = 0; rank < size_; ++rank)
      (new (place_ + seat_at(rank)) seat)->process.store(process_of(rank));
    const std::size_t posts = static_cast<std::size_t>(size_) * host::window;
    for (std::size_t i = 0; i < posts; ++i)
      new (place_ + posts_at(size_) + i * sizeof(host::post)) host::post;
    std::memset(place_ + rows_at(size_), 0, static_cast<std::size_t>(size_) * row_bytes(size_));
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

  std::string words_of(int rank, std::uint64_t number) const {
    kept_calls::words said;
    if (!of(rank).said.read(number, said)) return "collective #" + std::to_string(number);
    return describe(unpacked(said), number, of(rank).sites);
  }

  bool failed() const { return head().failure.load() != 0; }
  /// Records why the team fails, unless it has failed before; true if it had not. Any thread of any
  /// process may call.
  bool fail(failure_kind kind, int origin, std::string_view text) const {
    const std::int32_t begun = 1 + 4 * static_cast<std::int32_t>(kind) + 16 * (origin + 1);
    std::int32_t none = 0;
    if (!head().failure.compare_exchange_strong(none, begun)) return false;
    const std::size_t length = std::min(text.size(), team_head::longest_text);
    std::memcpy(head().text, text.data(), length);
    head().text[length] = '\0';
    head().failure.store(begun + 2);
    return true;
  }
  /// The rank that saw the failure first, or −1.
  int origin() const { return failed() ? head().failure.load() / 16 - 1 : -1; }
  failure_kind kind() const { return static_cast<failure_kind>(head().failure.load() / 4 % 4); }
  /// The failure's text; empty if there is none.
  std::string text() const {
    if (!failed()) return {};
    return await_text() ? head().text : unsaid();
  }

  // ---- who is left; see shrink.hpp ----

  /// The rank whose proposal counts, or −1.
  int decider() const { return head().decider.load() - 1; }
  /// Makes a rank's proposal count, unless another's does.
  bool decide(int rank) const {
    std::int32_t none = 0;
    return head().decider.compare_exchange_strong(none, rank + 1);
  }
  /// The ranks that are left, as a rank proposes.
  std::vector<int> proposed_by(int rank) const {
    std::vector<int> left;
    for (int each = 0; each < size_; ++each)
      if (std::to_integer<int>(row_of(rank)[each / 8] >> each % 8) % 2 == 1) left.push_back(each);
    return left;
  }
  void propose(int rank, const std::vector<int>& left) const {
    std::memset(row_of(rank), 0, row_bytes(size_));
    for (const int each : left) row_of(rank)[each / 8] |= std::byte{1} << each % 8;
  }

  /// Watches a rank's process, as far as it is known yet.
  process_watch watch_of(int rank) const {
    const pid_t process = of(rank).process.load();
    return process == 0 ? process_watch{} : process_watch{process, of(rank).begin.load()};
  }
  /// What a rank's process does, or how it ended: "its process 4711 is stopped"; empty if the rank
  /// has left in good order. Any thread of any process may call.
  std::string state_of(int rank) const {
    if (of(rank).left.load()) return {};
    process_watch its = watch_of(rank);
    if (!its.ended()) return its.in_words();
    const std::int32_t how = await_ending(rank);
    if (how < 2) return its.in_words();
    const int status = how / 4;  // as `waitpid` gives it
    return "its process " + std::to_string(its.process()) + " " +
           ending_in_words(WEXITSTATUS(status), WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  }
  /// True if nobody uses the state any more: every rank has left, or its process has ended.
  bool all_left() const {
    for (int rank = 0; rank < size_; ++rank)
      if (!of(rank).left.load() && !watch_of(rank).ended()) return false;
    return true;
  }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t seats_at = (sizeof(team_head) + page - 1) / page * page;
  static std::size_t seat_at(int rank) {
    return seats_at + static_cast<std::size_t>(rank) * sizeof(seat);
  }
  static std::size_t posts_at(int size) { return (seat_at(size) + page - 1) / page * page; }

  static std::size_t rows_at(int size) {
    return posts_at(size) + static_cast<std::size_t>(size) * host::window * sizeof(host::post);
  }
  static std::size_t row_bytes(int size) { return (static_cast<std::size_t>(size) + 7) / 8; }
  std::byte* row_of(int rank) const {
    return place_ + rows_at(size_) + static_cast<std::size_t>(rank) * row_bytes(size_);
  }

  /// Waits for the text of a failure. Whoever writes it may be killed or stopped meanwhile.
  bool await_text() const {
    patience waiting{true, std::chrono::milliseconds{500}};
    while (head().failure.load() % 4 == 1)
      if (waiting.pass() && waiting.expired()) return false;
    return true;
  }
  /// What is known without that text.
  std::string unsaid() const {
    std::string text;
    for (int rank = 0; rank < size_; ++rank) {
      const bool writes = rank == origin();
      if (!writes && (of(rank).left.load() || !watch_of(rank).ended())) continue;
      if (!text.empty()) text += ", and ";
      text += "rank " + std::to_string(rank) + " (" + state_of(rank) + ")";
      text += writes ? " found a failure and has not come to say which" : " is gone";
    }
    return text;
  }
  /// The same for how a process ended: its parent takes notice a little later than others.
  std::int32_t await_ending(int rank) const {
    patience waiting{true, std::chrono::milliseconds{500}};
    const std::atomic<std::int32_t>& ending = of(rank).first().ending;
    while (ending.load() == 1)
      if (waiting.pass() && waiting.expired()) break;
    return ending.load();
  }

  std::byte* place_;
  int size_;
};

}  // namespace allfold::processes
