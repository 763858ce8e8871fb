#include "writing_an_adapter/communicators.hpp"

#include "support.hpp"

#include <cstring>

namespace writing_an_adapter_md::communicators {

/// Over the threads of a team, which stand for an engine's network.
struct transport {
  allfold::threads::communicator& ranks;

  int rank() const { return ranks.rank(); }
  int size() const { return ranks.size(); }
  void fail(const std::string& text) { ranks.abort(text); }
  void send_all(const void* mine, std::size_t bytes, void* all) {
    const auto* const own = static_cast<const std::byte*>(mine);
    auto* to = static_cast<std::byte*>(all);
    for (const std::byte* const from : ranks.gather(own)) to = std::copy_n(from, bytes, to);
    ranks.meet();
  }
  void send_from(int root, void* data, std::size_t bytes) {
    const auto* const own = static_cast<const std::byte*>(data);
    const auto all = ranks.gather(own);
    if (ranks.rank() != root) std::memcpy(data, all[static_cast<std::size_t>(root)], bytes);
    ranks.meet();
  }
};

TEST_CASE("writing_an_adapter.md: a communicator that an engine has lent") {
  std::vector<std::string> refused(2);
  const auto end = docs::train(2, [&](auto& threads, auto& model) {
    transport by{threads};
    const auto own = static_cast<float>(threads.rank());
    for (std::vector<float>& each : model.slopes) each.assign(each.size(), 4 * own);
    train(model, by);
    docs::descend optimizer;
    for (std::size_t i = 0; i < 2; ++i) optimizer(model.values[i], model.slopes[i]);

    lent_communicator<transport> world{by};
    std::vector<float> data(3, 1 + own), all(6);
    allfold::reduce(world, data, 1);
    if (threads.rank() == 1 && data[2] != 3) throw std::logic_error{"reduce"};
    allfold::broadcast(world, data, 1);
    allfold::all_gather(world, data, all);
    if (all != std::vector<float>(6, 3)) throw std::logic_error{"broadcast or all_gather"};
    allfold::barrier(world);
    try {
      std::vector<float> others(6);
      allfold::all_to_all(world, all, others);
    } catch (const allfold::usage_error& error) {
      refused[static_cast<std::size_t>(threads.rank())] = error.what();
    }
  });
  for (std::size_t k = 0; k < 7; ++k)
    CHECK(end.all()[k] == static_cast<float>(1 + k) - 0.5f * 2);  // rank 0's parameters, the mean
  for (const std::string& each : refused)
    CHECK(each.find("there is no all_to_all") != std::string::npos);
}

}  // namespace writing_an_adapter_md::communicators
