// A report of what all ranks of a team are doing and have done, for whoever looks for the one that
// hangs.
#pragma once

#include <algorithm>
#include <allfold/communicator/kept_calls.hpp>
#include <allfold/communicator/standing.hpp>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace allfold::host {

/// One rank's part of a report: what its process does, how many collectives it has completed, which
/// it is in and for whom it waits there, and its last `calls` calls, the latest last.
template <class Team>
std::string part_of_report(Team& team, int rank, std::uint64_t calls) {
  const standing its = standing_of(team, rank);
  std::string text = named(team, rank);
  text += its.left ? " has left after " : " has completed ";
  text += std::to_string(its.completed) + (its.completed == 1 ? " collective" : " collectives");
  if (its.inside) {
    text += ", is in " + team.words_of(rank, its.completed);
    if (its.folding) text += ", folding";
    if (its.waits_for >= 0) text += ", waiting for rank " + std::to_string(its.waits_for);
  } else if (its.waits_for >= 0) {
    text += ", waits for rank " + std::to_string(its.waits_for) + " before it enters the next";
  }
  text += "\n";
  const std::uint64_t end = its.completed + (its.inside ? 1 : 0);
  for (std::uint64_t number = end - std::min({end, calls, remembered}); number < end; ++number)
    text += "  " + team.words_of(rank, number) + "\n";
  return text;
}

/// A report of all ranks: each rank's part, and why the team has failed, if it has. Any thread of
/// any rank may call, also while others run, hang or are dead. It waits for no rank, but up to half
/// a second for each whose process has just ended, until the process's parent has said how.
template <class Team>
std::string report_of(Team& team, std::uint64_t calls = remembered) {
  std::string text = "allfold: report of " + std::to_string(team.size()) +
                     (team.size() == 1 ? " rank\n" : " ranks\n");
  for (int rank = 0; rank < team.size(); ++rank) text += part_of_report(team, rank, calls);
  if (team.failed()) text += "failed: " + team.text() + "\n";
  return text;
}

/// Adds a text to a file, or writes it to standard error if `where` is "stderr", in one piece. If
/// the file can't be written, standard error says so.
inline void write_report(const std::string& text, const std::string& where) {
  std::FILE* const file = where == "stderr" ? stderr : std::fopen(where.c_str(), "a");
  if (file != nullptr && file != stderr) std::setvbuf(file, nullptr, _IOFBF, text.size() + 1);
  bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr && file != stderr) written = std::fclose(file) == 0 && written;
  if (!written) std::fprintf(stderr, "allfold: no report can be written to %s\n", where.c_str());
}

/// The report of a team that is about to fail, if one is wanted: where the team's options say, or
/// else the environment's ALLFOLD_REPORT, or else nowhere. It is taken before the ranks hear of the
/// failure, and written afterwards; once per process, however many teams fail in it.
class failure_report {
 public:
  template <class Team>
  explicit failure_report(Team& team) noexcept {
    try {
      where_ = team.options().report;
      if (where_.empty())
        if (const char* const said = std::getenv("ALLFOLD_REPORT")) where_ = said;
      if (!where_.empty() && !is_written().load()) text_ = report_of(team);
    } catch (...) {  // there is no memory for it: the failure is told all the same
      text_.clear();
    }
  }
  /// The team has failed, by this rank, for the reason `why`.
  void write(std::string_view why) noexcept {
    if (text_.empty() || is_written().exchange(true)) return;
    try {
      write_report((text_ += "failed: ").append(why) += '\n', where_);
    } catch (...) {
    }
  }

 private:
  static std::atomic<bool>& is_written() {
    static std::atomic<bool> written{false};
    return written;
  }

  std::string where_, text_;
};

}  // namespace allfold::host
