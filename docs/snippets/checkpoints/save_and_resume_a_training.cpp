#include "checkpoints/save_and_resume_a_training.hpp"

#include "support.hpp"

#include <unistd.h>

namespace checkpoints_md::save_and_resume_a_training {

TEST_CASE("checkpoints.md: a resumed training comes to the same bits") {
  const auto path =
      std::filesystem::temp_directory_path() / ("allfold-checkpoint-" + std::to_string(getpid()));
  std::filesystem::remove(path);
  const std::vector<float> data = docs::numbers(15 * 128);  // 150 steps, of which the 100th saves
  const auto run = [&] {
    return docs::train(2, [&](auto& world, auto& model) {
      train<allfold::distributed<>>(world, model, data, path);
    });
  };
  const auto whole = run();
  CHECK(std::filesystem::exists(path));

  docs::learner saved;
  descent optimizer;
  const allfold::sampler_position at = load(path, saved, optimizer);
  CHECK(at.epoch == 6);  // of 15 steps
  CHECK(saved.all() != whole.all());
  CHECK(optimizer.momentum.size() == 2);
  CHECK(run().all() == whole.all());  // goes on from there
  std::filesystem::remove(path);
}

}  // namespace checkpoints_md::save_and_resume_a_training
