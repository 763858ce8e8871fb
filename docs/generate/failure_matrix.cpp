// Lets something happen to a rank in every place, and writes what the others are told, and after
// how long, into docs/reliability.md. With --check only some examples are tried, and figures are
// not compared: they are one machine's. Trying everything is for
// tests/communicator/process_faults.cpp.
#include "support/process_faults.hpp"

#include "documentation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace process_faults;

constexpr const char* page = "reliability.md";

std::string row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& each : cells) text += " " + each + " |";
  return text + "\n";
}
std::string head(const std::vector<std::string>& titles) {
  std::string text = row(titles) + "|---|";
  for (std::size_t i = 1; i < titles.size(); ++i) text += "--:|";
  return text + "\n";
}

/// The longest of the times that stand in a cell, by row and column.
class table {
 public:
  void add(const std::string& row, const std::string& column, double milliseconds) {
    double& cell = longest_[{row, column}];
    cell = std::max(cell, milliseconds);
  }
  std::string cell(const std::string& row, const std::string& column) const {
    const auto found = longest_.find({row, column});
    if (found == longest_.end()) return "–";
    return std::to_string(static_cast<long>(std::ceil(found->second)));
  }

 private:
  std::map<std::pair<std::string, std::string>, double> longest_;
};

std::string full_name(const subject& it) { return "`" + it.name + "<" + it.algorithm + ">`"; }

struct experiments {
  std::vector<subject> subjects = all_subjects();
  std::vector<experiment> all;
  std::vector<double> times;  ///< milliseconds, in the same order; 0 where nothing was tried

  experiments() {
    for (const fault what : all_faults)
      for (const experiment& each : all_places(subjects, what)) all.push_back(each);
    times.resize(all.size());
  }
  /// Carries them out. False if one came to what it must not.
  bool carry_out() {
    struct figures {
      double milliseconds[20'000];
    };
    const test::shared_with_children<figures> found;
    std::string wrong;
    const auto part = [&](bool loops, int worlds) {
      std::vector<std::size_t> chosen;
      for (std::size_t i = 0; i < all.size(); ++i)
        if ((all[i].what == fault::endless_loop) == loops) chosen.push_back(i);
      wrong += test::in_processes(worlds, chosen.size(), 60min, [&](std::size_t i) {
        const verdict it = try_out(all[chosen[i]]);
        found->milliseconds[chosen[i]] = it.latest;
        return it.wrong;
      });
    };
    part(false, 2);
    part(true, 2);
    for (std::size_t i = 0; i < all.size(); ++i) times[i] = found->milliseconds[i];
    if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
    return wrong.empty();
  }

  std::string by_phase() const {
    table found;
    for (std::size_t i = 0; i < all.size(); ++i)
      found.add(name_of(all[i].what), name_of(all[i].when), times[i]);
    std::vector<std::string> titles{"what happens", "the others get"};
    for (const phase when : all_phases) titles.push_back(name_of(when));
    std::string text = head(titles);
    for (const fault what : all_faults) {
      std::vector<std::string> cells{name_of(what),
                                     is_silent(what) ? "`timeout_error`" : "`rank_lost_error`"};
      for (const phase when : all_phases) cells.push_back(found.cell(name_of(what), name_of(when)));
      text += row(cells);
    }
    return text + "\n" + std::to_string(all.size()) + " experiments.\n";
  }
  std::string by_algorithm() const {
    table found;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (is_in_collective(all[i].when) || all[i].when == phase::between)
        found.add(full_name(*all[i].it), name_of(all[i].what), times[i]);
    std::vector<std::string> titles{"collective"};
    for (const fault what : all_faults) titles.push_back(name_of(what));
    std::string text = head(titles);
    for (const subject& it : subjects) {
      std::vector<std::string> cells{full_name(it)};
      for (const fault what : all_faults) cells.push_back(found.cell(full_name(it), name_of(what)));
      text += row(cells);
    }
    return text;
  }
};

/// A text without what differs from time to time, as a block.
std::string without_processes(std::string text) {
  text = std::regex_replace(text, std::regex{"process [0-9]+"}, "process 4711");
  text = std::regex_replace(text, std::regex{"(process_faults.hpp|failure_matrix.cpp):[0-9]+"},
                            "train.cpp:12");
  text = std::regex_replace(text, std::regex{"process_faults::fragile_sum"}, "sum");
  return "```text\n" + text + "```\n";
}

/// What rank 0 of three is told if that happens to rank 1.
std::string example(const subject& it, fault what, phase when, int index = 0) {
  experiment how{&it, 3, 1, what, when, index};
  if (is_silent(what)) how.timeout = 300ms;
  test::shared_with_children<findings> found;
  const auto is_typical = [&] {  // who waits for rank 1 has noticed it, and was there before
    const std::string text = found->ranks[0].text;
    const auto says = [&](const char* part) { return text.find(part) != text.npos; };
    if (is_silent(what))
      return says(": rank 0 has waited") && says("for rank 1 (its") &&
             says("has not moved meanwhile");
    return is_said(what) || when == phase::before_joining ||
           (says("and rank 2 waits for it") && says("has not moved for at least"));
  };
  for (int left = 100; left > 0; --left) {
    new (&*found) findings;
    run(how, *found);
    if (is_typical()) break;
  }
  return without_processes(std::string{found->ranks[0].text} + "\n");
}

/// A report that rank 0 of three makes while rank 1 is stopped and both others wait.
std::string sample_report() {
  test::shared_with_children<test::shared_text> said;
  const auto body = [&](world& ranks) {
    std::vector<float> data(4000);
    allfold::barrier(ranks);
    if (ranks.rank() == 1) raise(SIGSTOP);
    std::thread observer;
    if (ranks.rank() == 0)
      observer = std::thread{[&] {
        std::string text;
        const auto says = [&](const char* part) { return text.find(part) != text.npos; };
        const auto end = clock::now() + 10s;
        while (!(says("rank 0 (its process") && says("waiting for rank 2") && says("is stopped") &&
                 says("waiting for rank 1") && !says("is running")) &&
               clock::now() < end)
          text = ranks.report();
        said->add(text);
        ranks.abort("enough");
      }};
    try {
      allfold::all_reduce<allfold::ring>(ranks, data);
    } catch (const allfold::error&) {
    }
    if (observer.joinable()) observer.join();
  };
  allfold::try_spawn_processes(3, body, {.timeout = 1s});
  return without_processes(said->text());
}

}  // namespace

int main(int count, char** values) {
  documentation docs{count, values};
  experiments tried;
  const subject& ring = tried.subjects[2];
  docs.section_but_figures(page, "killed between", example(ring, fault::killed, phase::between));
  docs.section_but_figures(page, "killed within", example(ring, fault::segfault, phase::step));
  docs.section_but_figures(page, "thrown", example(ring, fault::throws, phase::step));
  docs.section_but_figures(page, "stopped", example(ring, fault::stopped, phase::between));
  docs.section_but_figures(page, "in a fold", example(ring, fault::stopped, phase::fold));
  docs.section_but_figures(page, "not joined", example(ring, fault::killed, phase::before_joining));
  docs.section_but_figures(page, "report", sample_report());
  if (!docs.only_checks() && !tried.carry_out()) return 1;
  docs.section_but_figures(page, "by phase", tried.by_phase());
  docs.section_but_figures(page, "by algorithm", tried.by_algorithm());
  return docs.result();
}
