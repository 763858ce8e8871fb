// The life of a program under comparison: it waits for orders, carries them out, answers.
#pragma once

#include "order.hpp"
#include "work.hpp"

#include <unistd.h>

#include <algorithm>
#include <allfold/communicator/cores.hpp>
#include <chrono>
#include <concepts>
#include <cstdio>
#include <string>
#include <vector>

namespace peers {

/// One rank of a program, whatever carries its messages.
///  - send(text): rank 0's line is everybody's afterwards; may take its time;
///  - meet(): returns once all ranks have called it;
///  - all_of(flag): whether it is true on all ranks, on rank 0 at least;
///  - find(collective, contender): how a number of calls in a row are made, or null.
template <class Rank>
concept rank_of_program = requires(Rank& rank, line& text, const std::string& name) {
  { rank.rank() } -> std::convertible_to<int>;
  { rank.size() } -> std::convertible_to<int>;
  rank.send(text);
  rank.meet();
  { rank.all_of(true) } -> std::same_as<bool>;
  { rank.find(name, name) } -> std::convertible_to<void (*)(Rank&, work&, int)>;
};

template <rank_of_program Rank>
class server {
 public:
  explicit server(Rank& rank) : rank_{rank}, work_{rank.rank(), rank.size()} {}

  /// Every rank calls it; returns when it is over.
  void operator()() {
    for (;;) {
      line text{};
      if (rank_.rank() == 0) text = read_line();
      rank_.send(text);
      const order it = parse_order(text);
      if (it.collective.empty()) return;
      answer(carry_out(it));
    }
  }

 private:
  using calls = void (*)(Rank&, work&, int);

  std::string carry_out(const order& it) {
    std::vector<calls> all;
    for (const order::item& each : it.items) {
      all.push_back(rank_.find(it.collective, each.contender));
      if (all.back() == nullptr) return "unknown " + it.collective + " " + each.contender;
    }
    work_.prepare(it.collective, it.bytes);
    if (it.passes == 0) return checked(all);
    work_.clear();
    std::string text;
    for (int pass = 0; pass < it.passes; ++pass)
      for (std::size_t i = 0; i < all.size(); ++i) {
        const int iterations = it.items[i].iterations;
        all[i](rank_, work_, std::max(1, iterations / 10));  // to warm up
        text += number(microseconds(all[i], iterations) / iterations);
      }
    return text;
  }

  std::string checked(const std::vector<calls>& all) {
    std::string text;
    for (const calls each : all) {
      work_.fill();
      const double us = microseconds(each, 1);
      const bool right = rank_.all_of(work_.is_right());
      text += (right ? "right" : "wrong") + (" " + number(us));
    }
    return text;
  }

  double microseconds(calls all, int iterations) {
    using clock = std::chrono::steady_clock;
    rank_.meet();
    const auto begin = clock::now();
    all(rank_, work_, iterations);
    rank_.meet();
    return std::chrono::duration<double, std::micro>(clock::now() - begin).count();
  }

  static std::string number(double us) {
    char text[32];
    std::snprintf(text, sizeof text, "%.5g ", us);
    return text;
  }
  void answer(const std::string& text) {
    if (rank_.rank() != 0) return;
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
  }

  Rank& rank_;
  work work_;
};

/// Binds the calling thread as all programs do it: rank r to the r-th core, round and round.
inline void bind(int rank) { allfold::pin_this_thread(rank); }

/// Tells that all ranks are there, which are these processes.
inline void announce(const std::vector<int>& processes) {
  std::printf("ready");
  for (const int each : processes) std::printf(" %d", each);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace peers
