#include "data_parallel/checkpoints.hpp"

#include "support.hpp"

#include <unistd.h>

#include <filesystem>

namespace data_parallel_md::checkpoints {

TEST_CASE("data_parallel.md: what a replica remembers is saved beside the parameters") {
  namespace fs = std::filesystem;
  const fs::path before = fs::current_path();
  const fs::path folder =
      fs::temp_directory_path() / ("allfold-replica-" + std::to_string(getpid()));
  fs::create_directories(folder);
  fs::current_path(folder);
  const auto take_steps = [](auto& replica, auto& model, int count) {
    for (int step = 0; step < count; ++step) {
      replica.backward([&](auto&& ready) { model.backward(5, ready); });
      replica.step(docs::descend{});
    }
  };
  using replica_type = allfold::data_parallel<docs::learner, allfold::distributed<>>;
  docs::train(1, [&](auto& world, auto& model) {
    replica_type replica{model, world, {.rebuild_buckets = true}};
    take_steps(replica, model, 3);
    const allfold::distributed_sampler sampler{100, world, {.seed = 0}};
    save(replica, model, sampler.start_of(3));
  });
  const allfold::state_reader reader = allfold::load_state("training.state");
  fs::current_path(before);
  fs::remove_all(folder);

  CHECK(allfold::get_position(reader, "sampler").epoch == 3);
  const auto end = docs::train(1, [&](auto& world, auto& model) {
    std::size_t i = 0;
    for (const auto& values : model.parameters())
      reader.get_into("parameter " + std::to_string(i++), values);
    replica_type replica{model, world, {.rebuild_buckets = true}};
    allfold::get_replica(reader, "replica", replica);
    take_steps(replica, model, 1);
    if (replica.steps() != 4) throw std::logic_error{"steps"};
  });
  docs::check_drawn(end, 5, 4);
}

}  // namespace data_parallel_md::checkpoints
