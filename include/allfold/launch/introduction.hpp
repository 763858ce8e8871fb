// What a rank writes of itself into the folder where ranks meet. Linux.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <allfold/communicator/process_watch.hpp>
#include <allfold/launch/packing.hpp>
#include <allfold/launch/rendezvous_options.hpp>
#include <climits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>

namespace allfold::detail {

/// A process as others may find it. Numbers of processes mean something within one `place` only.
struct process_identity {
  std::string host;
  std::string place;  ///< see numbering_of_processes
  pid_t process = 0;
  std::uint64_t begin = 0;

  static process_identity own() {
    process_identity mine;
    char text[PATH_MAX] = {};
    if (gethostname(text, sizeof text - 1) == 0) mine.host = text;
    mine.place = processes::numbering_of_processes();
    mine.process = getpid();
    mine.begin = processes::status_of(mine.process).begin;
    return mine;
  }
  /// True if it is known to have ended: `own` has to be of the same place for that.
  bool has_ended(const process_identity& own) const {
    return !place.empty() && place == own.place && begin != 0 &&
           processes::process_watch{process, begin}.ended();
  }
  std::string in_words() const { return "process " + std::to_string(process) + " of host " + host; }
};

/// A rank's word to the others while they come together. It lists whom it has seen, and each of
/// them by a number that is drawn anew with every start: whoever lists mine is no leftover of
/// processes that have ended.
struct introduction {
  static constexpr std::uint32_t version = 1;

  int rank = 0;
  int size = 0;
  std::uint64_t nonce = 0;
  process_identity process = {};
  std::string job = {};
  std::map<int, std::uint64_t> seen = {};  ///< ranks' nonces
  std::string why = {};                    ///< it has given up; empty as long as it waits
  trouble kind = trouble::timeout;

  bool has_seen(const introduction& other) const {
    const auto found = seen.find(other.rank);
    return found != seen.end() && found->second == other.nonce;
  }

  /// True if nobody is this rank any more, as far as one can tell.
  bool abandoned(const process_identity& own) const {
    return !why.empty() || process.has_ended(own);
  }

  std::string packed() const {
    packer to;
    to.number(version, 4).number(static_cast<std::uint64_t>(rank), 4);
    to.number(static_cast<std::uint64_t>(size), 4).number(nonce, 8);
    to.text(process.host).text(process.place);
    to.number(static_cast<std::uint64_t>(process.process), 8).number(process.begin, 8);
    to.text(job).text(why).number(static_cast<std::uint64_t>(kind), 1);
    to.number(seen.size(), 4);
    for (const auto& [other, its] : seen)
      to.number(static_cast<std::uint64_t>(other), 4).number(its, 8);
    return to.bytes();
  }
  /// Nothing if it is of another version.
  static std::optional<introduction> unpacked(std::string_view bytes) {
    unpacker from{bytes};
    if (from.number(4) != version) return std::nullopt;
    introduction it;
    it.rank = static_cast<int>(from.number(4));
    it.size = static_cast<int>(from.number(4));
    it.nonce = from.number(8);
    it.process.host = from.text();
    it.process.place = from.text();
    it.process.process = static_cast<pid_t>(from.number(8));
    it.process.begin = from.number(8);
    it.job = from.text();
    it.why = from.text();
    it.kind = static_cast<trouble>(from.number(1));
    for (auto left = from.number(4); left > 0 && from.right(); --left) {
      const int other = static_cast<int>(from.number(4));
      it.seen[other] = from.number(8);
    }
    if (!from.right() || from.left() != 0) return std::nullopt;
    return it;
  }
};

/// A number that no other rank draws.
inline std::uint64_t fresh_nonce() {
  std::random_device source;
  return std::uint64_t{source()} << 32 | source();
}

}  // namespace allfold::detail
