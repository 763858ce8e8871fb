#include "data_parallel/models_in_a_devices_memory.hpp"

#include "data_parallel/recorded_device.hpp"

#include <doctest/doctest.h>

namespace data_parallel_md::models_in_a_devices_memory {

constexpr std::size_t layers = 5;

/// A model whose kernels are only written down; see recorded_device.hpp.
struct model {
  recorded::device& on;
  std::vector<std::vector<float>> values{layers, std::vector<float>(3)}, slopes{values};

  static auto spans_of(std::vector<std::vector<float>>& all) {
    std::vector<allfold::device_span<float>> spans;
    for (auto& each : all) spans.emplace_back(each.data(), each.size());
    return spans;
  }
  auto parameters() { return spans_of(values); }
  auto gradients() { return spans_of(slopes); }
  void backward(std::size_t i, recorded::queue* in) {
    on.give(in, "gradient", slopes[i].data(), slopes[i].size() * sizeof(float), true);
  }
};

TEST_CASE("data_parallel.md: no gradient is reduced before its stream has come so far") {
  for (const allfold::overlap how : {allfold::overlap::none, allfold::overlap::by_thread}) {
    std::vector<std::shared_ptr<recorded::device>> devices;
    for (int rank = 0; rank < 2; ++rank) devices.push_back(std::make_shared<recorded::device>());
    allfold::spawn(2, [&](allfold::threads::communicator& control) {
      const auto device = devices[static_cast<std::size_t>(control.rank())];
      recorded::world<recorded::meeting::at_once> world{std::move(control), device};
      model its{*device};
      allfold::data_parallel<model, allfold::distributed<>> replica{its, world, {.overlap = how}};
      recorded::queue *const first = device->make_stream(), *const second = device->make_stream();
      recorded::event here{*device};  // both streams begin where the communicator's has come to
      here.record(world.stream());
      here.hold_back(first);
      here.hold_back(second);
      backward(replica, its, layers, first, second);
    });
    for (const auto& each : devices) {
      for (const std::string& fault : each->faults()) FAIL_CHECK(fault);
      CHECK(each->named("gradient").size() == layers);
      CHECK(each->named("all_reduce").size() == layers);
    }
  }
}

}  // namespace data_parallel_md::models_in_a_devices_memory
