// A communicator with an engine of its own, as MPI is one: it does what it is asked to by the
// library's algorithms on other ranks.
#pragma once

#include <allfold/allfold.hpp>
#include <span>

namespace test {

template <class Ranks>
class engine_over {
 public:
  static constexpr allfold::memory_space space = allfold::memory_space::host;
  static constexpr bool has_engine = true;

  explicit engine_over(Ranks ranks) : ranks_{std::move(ranks)} {}

  int rank() const { return ranks_.rank(); }
  int size() const { return ranks_.size(); }
  void abort(const std::string& why) { ranks_.abort(why); }
  engine_over split(int color, int key = 0,
                    std::source_location where = std::source_location::current()) {
    return engine_over{ranks_.split(color, key, where)};
  }

  template <allfold::collective What, class T, class Operation>
  void native(const allfold::engine_call<What, T>& it, const Operation& operation) {
    using allfold::collective;
    const auto n = static_cast<std::size_t>(size());
    const bool even = it.counts.empty();
    const std::size_t whole = even ? it.count * n : it.count;
    const std::size_t mine = even ? it.count : it.counts[static_cast<std::size_t>(rank())];
    const bool root = rank() == it.root;
    const auto given = [&](std::size_t count) { return std::span<const T>{it.input, count}; };
    const auto got = [&](std::size_t count) { return std::span<T>{it.output, count}; };
    if constexpr (What == collective::all_reduce) {
      allfold::all_reduce(ranks_, given(it.count), got(it.count), operation);
    } else if constexpr (What == collective::reduce) {
      allfold::reduce(ranks_, given(it.count), got(root ? it.count : 0), it.root, operation);
    } else if constexpr (What == collective::broadcast) {
      allfold::broadcast(ranks_, given(root ? it.count : 0), got(it.count), it.root);
    } else if constexpr (What == collective::reduce_scatter) {
      allfold::reduce_scatter(ranks_, given(whole), got(mine), operation);
    } else if constexpr (What == collective::all_gather) {
      if (even) return allfold::all_gather(ranks_, given(mine), got(whole));
      allfold::all_gather(ranks_, given(mine), got(whole), it.counts);
    } else if constexpr (What == collective::scatter) {
      const auto all = given(root ? whole : 0);
      if (even) return allfold::scatter(ranks_, all, got(mine), it.root);
      allfold::scatter(ranks_, all, got(mine), it.counts, it.root);
    } else if constexpr (What == collective::gather) {
      const auto all = got(root ? whole : 0);
      if (even) return allfold::gather(ranks_, given(mine), all, it.root);
      allfold::gather(ranks_, given(mine), all, it.counts, it.root);
    } else if constexpr (What == collective::all_to_all) {
      if (it.in_place) return allfold::all_to_all(ranks_, got(whole));
      allfold::all_to_all(ranks_, given(whole), got(whole));
    } else {
      allfold::barrier(ranks_);
    }
  }

 private:
  Ranks ranks_;
};

}  // namespace test
