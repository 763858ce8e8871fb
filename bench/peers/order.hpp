// What a program under comparison is told, line by line on its standard input, and what it answers.
//
// An order is "<collective> <bytes> <passes> <contender>=<iterations> …". In each pass every
// contender named has its turn, one after the other, so that all of them see the same machine. The
// answer is one line: the µs of a call, pass by pass, in the order of the names. With no passes
// each contender is called once with numbers whose result is known, and the answer is "right" or
// "wrong" for each, with the µs of that one call. A line without words, or the input's end, ends
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace peers {

/// A line as it is sent from rank 0 to the others.
using line = std::array<char, 1024>;

/// Waits for a line on standard input. Empty at its end.
inline line read_line() {
  line text{};
  if (std::fgets(text.data(), static_cast<int>(text.size()), stdin) == nullptr) text = {};
  return text;
}

struct order {
  struct item {
    std::string contender;
    int iterations = 1;
  };
  std::string collective;  ///< empty: it is over
  std::size_t bytes = 0;   ///< as reports name it; see `elements`
  int passes = 0;
  std::vector<item> items;
};

/// Throws std::invalid_argument if the line is not an order.
inline order parse_order(const line& text) {
  std::istringstream words{text.data()};
  order it;
  if (!(words >> it.collective)) return it;
  if (!(words >> it.bytes >> it.passes) || it.passes < 0)
    throw std::invalid_argument{std::string{"not an order: "} + text.data()};
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
      throw std::invalid_argument{"a contender needs a number of iterations: " + word};
    it.items.push_back({word.substr(0, equals), std::stoi(word.substr(equals + 1))});
    if (it.items.back().iterations < 1)
      throw std::invalid_argument{"a contender needs at least one iteration: " + word};
  }
  if (it.items.empty()) throw std::invalid_argument{"an order needs a contender"};
  return it;
}

}  // namespace peers
