#include "processes/started_by_something_else.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace processes_md::started_by_something_else {

/// An engine whose ranks are threads.
struct engine {
  allfold::threads::communicator& ranks;
  int exchanges = 0;

  void all_gather_bytes(const void* mine, std::size_t bytes, void* all) {
    const auto* const own = static_cast<const std::byte*>(mine);
    auto* to = static_cast<std::byte*>(all);
    for (const std::byte* const from : ranks.gather(own)) to = std::copy_n(from, bytes, to);
    ranks.meet();
    ++exchanges;
  }
};

TEST_CASE("processes.md: ranks that an engine has started meet through it") {
  std::vector<int> exchanges(3);
  allfold::spawn(3, [&](auto& threads) {
    engine own{threads};
    train(own, threads.rank(), threads.size());
    exchanges[static_cast<std::size_t>(threads.rank())] = own.exchanges;
  });
  for (const int each : exchanges) CHECK(each > 0);
}

}  // namespace processes_md::started_by_something_else
