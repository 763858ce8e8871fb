// The lists in Slurm's environment variables: how many tasks each node has, and the nodes' names.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace allfold::detail {

/// All of `text` as a whole number; nothing if it is no such, or none that fits.
template <class Number>
std::optional<Number> whole_number(std::string_view text) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

/// How many tasks a node has, the nodes being counted from 0, by a list such as "2(x3),1": two on
/// each of three nodes, then one. Nothing if the list is none, or has no such node.
inline std::optional<int> tasks_of_node(std::string_view list, int node) {
  std::optional<int> found;
  for (int left = node;;) {  // nodes before the one that is asked for
    const std::string_view entry = list.substr(0, list.find(','));
    const std::size_t open = entry.find("(x");
    const auto tasks = whole_number<int>(entry.substr(0, open));
    std::optional<int> nodes = 1;
    if (open != std::string_view::npos) {
      if (entry.back() != ')') return std::nullopt;
      nodes = whole_number<int>(entry.substr(open + 2, entry.size() - open - 3));
    }
    if (!tasks || *tasks < 0 || !nodes || *nodes < 1) return std::nullopt;
    if (left >= 0 && left < *nodes) found = tasks;
    left = left < *nodes ? -1 : left - *nodes;
    if (entry.size() == list.size()) return found;
    list.remove_prefix(entry.size() + 1);
  }
}

/// The first host of a list such as "node[003-005,9],other": "node003". Nothing if it is none.
inline std::optional<std::string> first_host(std::string_view list) {
  std::string host;
  while (!list.empty() && list.front() != ',') {
    if (list.front() != '[') {
      host += list.front();
      list.remove_prefix(1);
      continue;
    }
    const std::size_t close = list.find(']');
    const std::string_view first = list.substr(1, list.find_first_of(",-]") - 1);
    if (close == std::string_view::npos || first.empty()) return std::nullopt;
    host += first;
    list.remove_prefix(close + 1);
  }
  if (host.empty()) return std::nullopt;
  return host;
}

}  // namespace allfold::detail
