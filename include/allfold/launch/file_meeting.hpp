// How ranks come together in a folder, whatever others have left in it. Linux.
#pragma once

#include <algorithm>
#include <allfold/launch/introduction.hpp>
#include <allfold/launch/rendezvous_options.hpp>
#include <allfold/launch/shared_folder.hpp>
#include <thread>
#include <utility>

namespace allfold::detail {

/// Looks again and again for what others are to write: at first often, then every 20 ms.
class looks {
 public:
  using clock = std::chrono::steady_clock;

  explicit looks(clock::duration limit) : limit_{limit} {}
  /// Called after a look that found nothing. Waits; false once the time is over.
  bool again() {
    const auto left = limit_ - (clock::now() - begin_);
    if (left <= clock::duration::zero()) return false;
    std::this_thread::sleep_for(std::min<clock::duration>(left, nap_));
    nap_ = std::min<clock::duration>(nap_ * 3 / 2, longest);
    return true;
  }
  /// Time for looks that cost more.
  bool slow() const { return nap_ == longest; }

 private:
  static constexpr clock::duration longest = std::chrono::milliseconds{20};

  clock::duration limit_;
  clock::time_point begin_ = clock::now();
  clock::duration nap_ = std::chrono::microseconds{200};
};

/// Every rank writes one introduction and writes it again whenever it sees others than before. They
/// have met when each has seen all. What processes that have ended left there can't be taken for a
/// rank: it does not list the numbers that the living have drawn.
class file_meeting {
 public:
  using ranks = std::map<int, introduction>;

  file_meeting(const shared_folder& folder, introduction mine, std::string who,
               std::chrono::steady_clock::duration timeout)
      : folder_{folder}, mine_{std::move(mine)}, who_{std::move(who)}, timeout_{timeout} {}

  static std::string name_of(int rank) { return "rank" + std::to_string(rank); }

  /// The introductions of all ranks. Throws as the constructor of file_rendezvous does.
  ranks meet() {
    take_place();
    try {
      return await_all();
    } catch (...) {
      // Who gives up has told the others so; else the place is free again.
      if (own_place_ && mine_.why.empty()) folder_.remove(name_of(mine_.rank));
      throw;
    }
  }

 private:
  /// Makes the rank this process's, if no living process has it.
  void take_place() {
    const std::string name = name_of(mine_.rank);
    mine_.seen = {{mine_.rank, mine_.nonce}};
    while (!folder_.create(name, mine_.packed())) {
      const auto holder = read(name);
      if (!holder) continue;  // it has just left
      if (holder->abandoned(mine_.process)) return folder_.write(name, mine_.packed());
      throw usage_error{who_ + "this rank is taken already, by " + holder->process.in_words() +
                        ": " + folder_.path_of(name) +
                        " says so; if that process has ended, remove it"};
    }
  }

  ranks await_all() {
    for (looks look{timeout_};;) {
      ranks found = all();
      look_at_own(found);
      const bool news = note(found);
      for (const auto& [rank, its] : found) look_at(its);
      if (news) folder_.write(name_of(mine_.rank), mine_.packed());
      const std::vector<int> missing = ranks_without(found, &file_meeting::has_seen_all);
      if (missing.empty()) {
        found.erase(found.lower_bound(mine_.size), found.end());
        return found;
      }
      if (look.slow()) look_for_lost(found);
      if (!look.again()) time_is_over(found, missing);
    }
  }

  std::optional<introduction> read(const std::string& name) const {
    const auto bytes = folder_.read(name);
    if (!bytes) return std::nullopt;
    auto found = introduction::unpacked(*bytes);
    if (!found)
      throw mismatch_error{who_ + folder_.path_of(name) +
                           " is by another version of the library: remove it if it is old"};
    if (!same_secret(mine_.job, found->job))
      throw mismatch_error{who_ + folder_.path_of(name) + " is of another job"};
    return found;
  }
  ranks all() const {
    ranks found;
    for (const std::string& name : folder_.list())
      if (name.starts_with("rank"))
        if (auto its = read(name)) found[its->rank] = std::move(*its);
    return found;
  }

  void look_at_own(const ranks& found) {
    const auto own = found.find(mine_.rank);
    own_place_ = own != found.end() && own->second.nonce == mine_.nonce;
    if (own_place_) return;
    throw usage_error{
        who_ + "this rank was taken over" +
        (own == found.end() ? ": its file was removed" : " by " + own->second.process.in_words()) +
        ": " + folder_.path_of(name_of(mine_.rank))};
  }
  /// Whether this rank sees others than before, which it is to show them.
  bool note(const ranks& found) {
    std::map<int, std::uint64_t> seen;
    for (const auto& [rank, its] : found) seen[rank] = its.nonce;
    return std::exchange(mine_.seen, seen) != seen;
  }
  void look_at(const introduction& its) {
    if (!its.has_seen(mine_)) return;  // from another time, perhaps
    if (!its.why.empty()) give_up(its.kind, its.why);
    if (its.size != mine_.size)
      give_up(trouble::mismatch,
              "the ranks disagree about their number: rank " + std::to_string(its.rank) + " says " +
                  std::to_string(its.size) + ", rank " + std::to_string(mine_.rank) + " says " +
                  std::to_string(mine_.size));
  }
  bool has_seen_me(const ranks&, const introduction& its) const { return its.has_seen(mine_); }
  bool has_seen_all(const ranks& found, const introduction& its) const {
    return std::all_of(found.begin(), found.end(), [&](const auto& each) {
      return each.first >= mine_.size || its.has_seen(each.second);
    });
  }
  template <class Predicate>
  std::vector<int> ranks_without(const ranks& found, Predicate predicate) const {
    std::vector<int> without;
    for (int rank = 0; rank < mine_.size; ++rank) {
      const auto its = found.find(rank);
      if (its == found.end() || !(this->*predicate)(found, its->second)) without.push_back(rank);
    }
    return without;
  }

  void look_for_lost(const ranks& found) {
    for (const auto& [rank, its] : found)
      if (its.has_seen(mine_) && its.process.has_ended(mine_.process))
        give_up(trouble::lost, "rank " + std::to_string(rank) +
                                   " is lost: " + its.process.in_words() + " has ended");
  }
  [[noreturn]] void time_is_over(const ranks& found, const std::vector<int>& incomplete) {
    const std::vector<int> absent = ranks_without(found, &file_meeting::has_seen_me);
    std::string text = "rank " + std::to_string(mine_.rank) + " has waited " +
                       milliseconds_in_words(timeout_) + " in " + folder_.path() + " for " +
                       ranks_in_words(absent.empty() ? incomplete : absent) + ", which ";
    text += (absent.empty() ? incomplete : absent).size() == 1 ? "has" : "have";
    text += absent.empty() ? " come but not gone on" : " not come";
    for (const int rank : absent)
      if (const auto its = found.find(rank); its != found.end())
        text += "; there is an old file of rank " + std::to_string(rank) + ", by " +
                its->second.process.in_words() + " as one of " + std::to_string(its->second.size) +
                " ranks" + (its->second.why.empty() ? "" : ", which gave up: " + its->second.why);
    bool others = false;
    folder_.list("allfold-", &others);
    if (others) text += "; there are files of another job, too";
    give_up(trouble::timeout, text);
  }
  /// Tells the others, and throws.
  [[noreturn]] void give_up(trouble kind, const std::string& why) {
    mine_.kind = kind;
    mine_.why = why;
    folder_.write(name_of(mine_.rank), mine_.packed());
    throw_trouble(kind, who_ + why);
  }

  const shared_folder& folder_;
  introduction mine_;
  std::string who_;
  std::chrono::steady_clock::duration timeout_;
  bool own_place_ = true;
};

}  // namespace allfold::detail
