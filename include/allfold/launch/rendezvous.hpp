// Lets ranks that are processes find each other by way of a folder that all of them see. Linux.
#pragma once

#include <allfold/communicator/exchange_bytes.hpp>
#include <allfold/hash.hpp>
#include <allfold/launch/environment.hpp>
#include <allfold/launch/file_meeting.hpp>
#include <allfold/launch/rendezvous_options.hpp>
#include <cstring>
#include <exception>

namespace allfold {

/// Ranks that exchange bytes by files in a folder. Used by one thread of each rank.
///
/// Files get their names when they are whole, by `link` and `rename`, so any file system will do
/// that has these, also one that several machines share. Names begin with "allfold-" and a hash of
/// the job; of other jobs' files nothing is read. When the last rank is destroyed there are none
/// left. What killed processes leave is told apart from the files of the living, and removed when
/// ranks of the same job meet in the folder again.
///
/// After an error every further exchange throws the same.
class file_rendezvous {
 public:
  /// Every rank makes one, with the same `folder`, which must exist, `size` and options. Returns
  /// when all have come. Throws usage_error for a rank that can't be, a rank that is taken already,
  /// a folder that does not exist and a file that no rank has written; mismatch_error if the ranks
  /// disagree about their number; timeout_error that names the ranks that have not come;
  /// rank_lost_error for one that has come and ended; process_error where the system refuses.
  file_rendezvous(std::string folder, int rank, int size, rendezvous_options options = {})
      : rank_{rank},
        size_{size},
        options_{std::move(options)},
        mine_{.rank = rank,
              .size = size,
              .nonce = detail::fresh_nonce(),
              .process = detail::process_identity::own(),
              .job = options_.job},
        folder_{std::move(folder), "allfold-" + detail::in_hex(hash_of(options_.job)) + '-', who(),
                mine_.nonce} {
    detail::require_rank(rank, size);
    others_ = detail::file_meeting{folder_, mine_, who(), options_.timeout}.meet();
    for (const auto& [other, its] : others_)
      generation_ = hash_of(detail::in_hex(its.nonce), generation_);
    try {
      exchange(nullptr, 0, nullptr);  // only then all know that all have met
    } catch (...) {
      leave();
      throw;
    }
    if (rank == 0) sweep();
  }
  file_rendezvous(const file_rendezvous&) = delete;
  file_rendezvous& operator=(const file_rendezvous&) = delete;
  ~file_rendezvous() {
    if (mine_.process.process == getpid()) leave();  // not in a fork
  }

  /// For `connect`: in the folder that the launcher has named; null if it has named none.
  static std::shared_ptr<file_rendezvous> by(const launch_environment& told,
                                             const rendezvous_options& options) {
    if (told.rendezvous.empty()) return nullptr;
    return std::make_shared<file_rendezvous>(told.rendezvous, told.rank, told.size, options);
  }
  static constexpr const char* needs = "ALLFOLD_RENDEZVOUS to a folder that all ranks see";

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// See exchange_bytes. Throws mismatch_error if the ranks bring different numbers of bytes,
  /// timeout_error that names the ranks that have not come, rank_lost_error if one has left or has
  /// ended, process_error where the system refuses.
  void exchange(const void* mine, std::size_t size, void* all) {
    if (failed_) std::rethrow_exception(failed_);
    try {
      folder_.write(name_of(round_, rank_), {static_cast<const char*>(mine), size});
      const std::vector<std::string> theirs = await_round();
      require_sizes(theirs);
      for (std::size_t i = 0; size != 0 && i < theirs.size(); ++i)
        std::memcpy(static_cast<char*>(all) + i * size, theirs[i].data(), size);
    } catch (...) {
      failed_ = std::current_exception();
      throw;
    }
    // Who has written this round has read the one before.
    if (round_ > 0) folder_.remove(name_of(round_ - 1, rank_));
    ++round_;
  }

 private:
  using name_list = std::vector<std::string>;

  std::string who() const { return "allfold: rank " + std::to_string(rank_) + ": "; }
  /// "exchange #0 in /folder"; the first round is the library's own.
  std::string here() const {
    return (round_ == 0 ? "the first meeting" : "exchange #" + std::to_string(round_ - 1)) +
           " in " + folder_.path();
  }
  std::string generation() const { return detail::in_hex(generation_) + '-'; }
  std::string name_of(std::uint64_t round, int rank) const {
    return generation() + std::to_string(round) + '-' + std::to_string(rank);
  }
  std::string left_name(int rank) const { return generation() + "left-" + std::to_string(rank); }

  /// What each rank has written in this round.
  name_list await_round() {
    std::vector<std::optional<std::string>> found(static_cast<std::size_t>(size_));
    for (detail::looks look{options_.timeout};;) {
      std::vector<int> missing;
      for (int rank = 0; rank < size_; ++rank) {
        auto& its = found[static_cast<std::size_t>(rank)];
        if (!its) its = folder_.read(name_of(round_, rank));
        if (!its) missing.push_back(rank);
      }
      if (missing.empty()) break;
      if (look.slow())
        for (const int rank : missing) look_for(rank);
      if (!look.again())
        throw timeout_error{who() + here() + ": rank " + std::to_string(rank_) + " has waited " +
                            detail::milliseconds_in_words(options_.timeout) + " for " +
                            detail::ranks_in_words(missing) +
                            (missing.size() == 1 ? ", which has" : ", which have") + " not come"};
    }
    name_list all;
    for (auto& its : found) all.push_back(std::move(*its));
    return all;
  }
  /// Throws if the rank has left, or has ended, without having written this round.
  void look_for(int rank) const {
    const bool left = folder_.read(left_name(rank)).has_value();
    const auto& process = others_.at(rank).process;
    if (!left && !process.has_ended(mine_.process)) return;
    if (folder_.read(name_of(round_, rank))) return;  // it has, before that
    throw rank_lost_error{who() + here() + ": rank " + std::to_string(rank) +
                          (left ? " has left" : " is lost: " + process.in_words() + " has ended")};
  }
  void require_sizes(const name_list& theirs) const {
    std::map<std::size_t, std::vector<int>> sizes;
    for (int rank = 0; rank < size_; ++rank)
      sizes[theirs[static_cast<std::size_t>(rank)].size()].push_back(rank);
    if (sizes.size() == 1) return;
    std::string text = who() + here() + ": the ranks exchange different numbers of bytes";
    for (const auto& [size, ranks] : sizes)
      text += "\n  " + detail::ranks_in_words(ranks) + ": " + std::to_string(size);
    throw mismatch_error{text};
  }

  /// The last one to leave removes all files.
  void leave() noexcept {
    try {
      folder_.remove(detail::file_meeting::name_of(rank_));
      folder_.write(left_name(rank_), {});
      for (int rank = 0; rank < size_; ++rank)
        if (!folder_.read(left_name(rank))) return;
      for (const std::string& name : folder_.list())
        if (name.starts_with(generation())) folder_.remove(name);
    } catch (const std::exception&) {  // the folder is gone, or full: nothing can be tidied
    }
  }
  /// Removes what killed processes of this job have left. All ranks are here, so none of them is
  /// in an earlier meeting.
  void sweep() const {
    for (const std::string& name : folder_.list()) {
      const auto writes = [&](const auto& each) {
        return name.starts_with(detail::in_hex(each.second.nonce));
      };
      if (name.starts_with(generation()) || std::any_of(others_.begin(), others_.end(), writes))
        continue;
      if (name.starts_with("rank")) {
        const auto its = folder_.read(name);
        const auto said = its ? detail::introduction::unpacked(*its) : std::nullopt;
        if (!said || said->rank < size_ || !said->abandoned(mine_.process)) continue;
      }
      folder_.remove(name);
    }
  }

  int rank_;
  int size_;
  rendezvous_options options_;
  detail::introduction mine_;
  detail::shared_folder folder_;
  detail::file_meeting::ranks others_;
  std::uint64_t generation_ = hash_of({});
  std::uint64_t round_ = 0;
  std::exception_ptr failed_;
};

}  // namespace allfold
