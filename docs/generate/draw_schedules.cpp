// Draws the library's schedules from what they answer: docs/pictures/*.svg. Also writes their
// figures into docs/algorithms.md, the table of algorithms into README.md, and what the proof says
// of an unsound one into docs/proof.md.
#include "documentation.hpp"
#include "picture.hpp"

namespace {

using namespace allfold;
using namespace allfold::docs;

template <class Schedule>
void draw(documentation& docs, const std::string& file, const std::string& title, int ranks = 4,
          Schedule plan = {}) {
  picture<Schedule> made{title + ", " + to_string(ranks) + " ranks", ranks, plan};
  docs.file("pictures/" + file + ".svg", made.draw());
}

/// The figures of one all_reduce, for all data of a rank having the length 1.
template <class Schedule>
std::string figures(const std::string& name, int ranks) {
  const recording<Schedule> record{ranks};
  const int chunks = record.plan.chunks(ranks);
  const auto cell = [chunks](int number) {
    char text[32];
    std::snprintf(text, sizeof text, " %.4g |", 1.0 * number / chunks);
    return std::string{text};
  };
  traffic most, all;
  for (int rank = 0; rank < ranks; ++rank) {
    const traffic its = record.moved(rank);
    most = {std::max(most.read, its.read), std::max(most.written, its.written)};
    all = {all.read + its.read, all.written + its.written};
  }
  return "| `" + name + "` | " + to_string(record.rounds) + " |" + cell(most.read) +
         cell(most.written) + cell(all.read) + cell(all.written) + "\n";
}

std::string table(int ranks) {
  return "| " + to_string(ranks) +
         " ranks | rounds | read by one rank | written by one rank | read by all | written by all "
         "|\n|---|--:|--:|--:|--:|--:|\n" +
         figures<one_shot>("one_shot", ranks) + figures<direct>("direct", ranks) +
         figures<ring>("ring", ranks) + figures<tree>("tree", ranks) +
         figures<halving_doubling>("halving_doubling", ranks) +
         figures<primary<>>("primary<>", ranks);
}

/// Which collectives an algorithm has.
template <class Algorithm>
std::string row(const std::string& name) {
  std::string text = "| `" + name + "` |";
  const auto cell = [&text](bool has) { text += has ? " ● |" : " |"; };
  cell(all_reduce_algorithm<Algorithm>);
  cell(requires { typename Algorithm::reduce; });
  cell(requires { typename Algorithm::broadcast; });
  cell(requires { typename Algorithm::reduce_scatter; });
  cell(requires { typename Algorithm::all_gather; });
  cell(requires { typename Algorithm::scatter; });
  cell(requires { typename Algorithm::gather; });
  cell(requires { typename Algorithm::all_to_all; });
  cell(requires { typename Algorithm::barrier; });
  return text + "\n";
}

std::string algorithms() {
  std::string head = "| |", line = "|---|";
  for (int i = 0; i <= static_cast<int>(collective::barrier); ++i) {
    head += " " + std::string{name_of(static_cast<collective>(i))} + " |";
    line += ":-:|";
  }
  return head + "\n" + line + "\n" + row<automatic>("automatic") + row<direct>("direct") +
         row<ring>("ring") + row<tree>("tree") + row<halving_doubling>("halving_doubling") +
         row<primary<>>("primary<root>") + row<dissemination>("dissemination");
}

/// As in docs/proof.md.
struct hasty : ring {
  constexpr waits exit(int, int) const { return {}; }
};

std::string proof_of_hasty() {
  std::string text = "```text\n";
  for (int size = 1; size <= 8; ++size) {
    const proof found = prove<hasty>(size);
    text += to_string(size) + " ranks: " + std::string{name_of(found.what)};
    if (!found.sound())
      text += ": rank " + to_string(found.rank) + " in step " + to_string(found.index) +
              ", against rank " + to_string(found.peer) + ", chunk " + to_string(found.chunk);
    text += "\n";
  }
  return text + "```\n";
}

}  // namespace

int main(int count, char** values) {
  documentation docs{count, values};
  draw<direct>(docs, "direct", "direct: all_reduce");
  draw<one_shot>(docs, "one_shot", "one_shot, direct's small messages: all_reduce");
  draw<ring>(docs, "ring", "ring: all_reduce");
  draw<tree>(docs, "tree", "tree: all_reduce");
  draw<halving_doubling>(docs, "halving_doubling", "halving_doubling: all_reduce");
  draw<halving_doubling>(docs, "halving_doubling_3", "halving_doubling: all_reduce", 3);
  draw<primary<>>(docs, "primary", "primary: all_reduce");
  draw<direct::reduce>(docs, "direct_reduce", "direct: reduce");
  draw<direct::broadcast>(docs, "direct_broadcast", "direct: broadcast");
  draw<direct::reduce_scatter>(docs, "direct_reduce_scatter", "direct: reduce_scatter");
  draw<direct::all_gather>(docs, "direct_all_gather", "direct: all_gather");
  draw<direct::scatter>(docs, "direct_scatter", "direct: scatter");
  draw<direct::gather>(docs, "direct_gather", "direct: gather");
  draw<direct::all_to_all>(docs, "direct_all_to_all", "direct: all_to_all, in place", 4, {true});
  draw<direct::barrier>(docs, "direct_barrier", "direct: barrier");
  draw<ring::reduce>(docs, "ring_reduce", "ring: reduce");
  draw<ring::broadcast>(docs, "ring_broadcast", "ring: broadcast");
  draw<ring::reduce_scatter>(docs, "ring_reduce_scatter", "ring: reduce_scatter");
  draw<ring::all_gather>(docs, "ring_all_gather", "ring: all_gather");
  draw<tree::reduce>(docs, "tree_reduce", "tree: reduce");
  draw<tree::broadcast>(docs, "tree_broadcast", "tree: broadcast");
  draw<primary<>::reduce>(docs, "primary_reduce", "primary: reduce");
  draw<dissemination::barrier>(docs, "dissemination_barrier", "dissemination: barrier");
  docs.section("algorithms.md", "figures", table(4) + "\n" + table(8));
  docs.section("../README.md", "algorithms", algorithms());
  docs.section("proof.md", "hasty ring", proof_of_hasty());
  return docs.result();
}
