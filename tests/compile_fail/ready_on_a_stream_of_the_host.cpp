// expect: gradients in host memory are final when they are said to be ready
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

  auto parameters() { return std::array{std::span{weights}}; }
  auto gradients() { return std::array{std::span{slopes}}; }
};

struct queue {};
template <>
inline constexpr bool allfold::is_device_stream<queue*> = true;

void train(allfold::threads::communicator& world, model& mine, [[maybe_unused]] queue* stream) {
  allfold::data_parallel<model, allfold::distributed<>> replica{mine, world};
#ifdef POSITIVE_CONTROL
  replica.backward([&](auto&& ready) { ready(0); });
#else
  replica.backward([&](auto&& ready) { ready(0, stream); });
#endif
}
