// How each rank of a team ended, gathered in the ranks and judged on the main thread.
#pragma once

#include <allfold/allfold.hpp>
#include <chrono>
#include <exception>
#include <ostream>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace outcomes {

enum class ending { returned, usage, mismatch, timeout, lost, other };

inline const char* name_of(ending how) {
  constexpr const char* names[] = {"returned",      "usage_error",     "mismatch_error",
                                   "timeout_error", "rank_lost_error", "another exception"};
  return names[static_cast<int>(how)];
}
inline std::ostream& operator<<(std::ostream& out, ending how) { return out << name_of(how); }

/// How a piece of work ended, and what the exception says.
struct outcome {
  ending how = ending::returned;
  std::string text;

  bool told() const { return how != ending::returned; }
  bool says(const std::string& part) const { return text.find(part) != std::string::npos; }
};

inline std::ostream& operator<<(std::ostream& out, const outcome& it) {
  return out << it.how << ": " << it.text;
}

inline outcome outcome_of(const std::exception_ptr& thrown) {
  if (!thrown) return {};
  try {
    std::rethrow_exception(thrown);
  } catch (const allfold::usage_error& error) {
    return {ending::usage, error.what()};
  } catch (const allfold::mismatch_error& error) {
    return {ending::mismatch, error.what()};
  } catch (const allfold::timeout_error& error) {
    return {ending::timeout, error.what()};
  } catch (const allfold::rank_lost_error& error) {
    return {ending::lost, error.what()};
  } catch (const std::exception& error) {
    return {ending::other, error.what()};
  } catch (...) {
    return {ending::other, "not a std::exception"};
  }
}

/// Does a piece of work in a rank. Its local variables are gone before the outcome is known.
template <class Work>
outcome attempt(Work&& work) {
  try {
    std::forward<Work>(work)();
    return {};
  } catch (...) {
    return outcome_of(std::current_exception());
  }
}

/// A time limit that only a hang reaches.
inline constexpr std::chrono::seconds patient{60};

/// Runs ranks; how each ended.
template <class Body>
std::vector<outcome> run_ranks(int size, Body&& body,
                               std::chrono::steady_clock::duration timeout = patient) {
  std::vector<outcome> all;
  for (const std::exception_ptr& each : allfold::try_spawn(size, body, {.timeout = timeout}))
    all.push_back(outcome_of(each));
  return all;
}

inline std::string rank_name(int rank) { return "rank " + std::to_string(rank); }

inline std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

/// "file.cpp:12", as errors show it.
inline std::string shown(std::source_location where = std::source_location::current()) {
  return allfold::place_of(where);
}

}  // namespace outcomes
