// Puts the difference between examples/flat_arena/train_one.cpp and train_ranks.cpp into
// docs/flat_arena.md, as `diff -u` shows it. Fails if it adds more lines than that page promises.
#include "documentation.hpp"

#include <cstdio>
#include <memory>
#include <string>

namespace {

constexpr int most_added = 15;

/// What a command writes; empty if it can't be run.
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe{popen(command.c_str(), "r"), pclose};
  std::string text;
  if (pipe)
    for (int each = std::fgetc(pipe.get()); each != EOF; each = std::fgetc(pipe.get()))
      text += static_cast<char>(each);
  return text;
}

/// Lines that begin with +, but for the one that names the file.
int added_lines(const std::string& diff) {
  int count = -1;
  for (std::size_t at = diff.find("\n+"); at != diff.npos; at = diff.find("\n+", at + 1)) ++count;
  return count;
}

}  // namespace

int main(int count, char** values) {
  documentation docs{count, values};
  if (docs.result() != 0) return docs.result();
  // The folder is the last argument, as CTest and the usage have it.
  const std::string examples = std::string{values[count - 1]} + "/../examples/flat_arena/";
  const std::string diff = output_of("diff -u --label train_one.cpp --label train_ranks.cpp '" +
                                     examples + "train_one.cpp' '" + examples + "train_ranks.cpp'");
  const int added = added_lines(diff);
  if (added < 1 || added > most_added) {
    std::fprintf(stderr, "diff -u shows %d added lines in train_ranks.cpp, not 1 to %d:\n%s\n",
                 added, most_added, diff.c_str());
    return 1;
  }
  docs.section("flat_arena.md", "difference", "```diff\n" + diff + "```\n");
  return docs.result();
}
