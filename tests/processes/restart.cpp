// Jobs whose processes are all killed and started again, as many as there are then.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/checkpoint.hpp>
#include <allfold/data_parallel/resume.hpp>
#include <allfold/data_parallel/state_file.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "data_parallel/surviving.hpp"

#include <doctest/doctest.h>

#include <unistd.h>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

namespace {

using namespace std::chrono_literals;
using namespace surviving;
using allfold::direct;
using allfold::distributed;
using allfold::process_ending;
namespace fs = std::filesystem;

using strategy = distributed<direct, allfold::buckets<16, 64>>;
using history = list<taken_step, 400>;

const allfold::processes::options quick{.timeout = 60s, .arena_bytes = std::size_t{64} << 20};

struct folder {
  fs::path path = fs::temp_directory_path() / ("allfold_restart_" + std::to_string(::getpid()));
  folder() { fs::create_directory(path); }
  ~folder() { fs::remove_all(path); }
  fs::path state() const { return path / "training.state"; }
};

/// The steps that a state holds, as numbers.
void put_history(allfold::state_writer& writer, const history& taken) {
  std::vector<std::uint64_t> epochs_done, samples_done, ranks;
  for (const taken_step& each : taken) {
    epochs_done.push_back(each.at.epoch);
    samples_done.push_back(each.at.samples_done);
    ranks.push_back(static_cast<std::uint64_t>(each.ranks));
  }
  writer.put("epochs", epochs_done);
  writer.put("samples", samples_done);
  writer.put("ranks", ranks);
}
history get_history(const allfold::state_reader& reader) {
  history taken;
  const auto at = reader.get_span<std::uint64_t>("epochs");
  const auto done = reader.get_span<std::uint64_t>("samples");
  const auto ranks = reader.get_span<std::uint64_t>("ranks");
  for (std::size_t i = 0; i < at.size(); ++i) {
    auto position = sampler_for(one_rank{}).start_of(at[i]);
    position.samples_done = done[i];
    taken.add({position, static_cast<int>(ranks[i]), false});
  }
  return taken;
}

/// One rank's training from the saved state on, if there is one. Rank 0 saves after each step, and
/// kills all ranks some microseconds after so many steps; never if they are negative.
void train_and_save(allfold::processes::communicator& world, const fs::path& path, int kill_after,
                    int microseconds) {
  training it;
  history taken;
  auto at = sampler_for(world).start_of(0);
  allfold::replica_state saved;
  if (fs::exists(path)) {
    const allfold::state_reader state = allfold::load_state(path);
    at = allfold::get_position(state, "sampler");
    state.get_into("counts", it.counts);
    state.get_into("values", it.values);
    state.get_into("speed", it.speed);
    saved.steps = state.get<std::uint64_t>("steps");
    taken = get_history(state);
  }
  allfold::data_parallel<training, strategy> replica{it, world,
                                                     options_of(allfold::overlap::by_thread)};
  replica.restore(saved);
  allfold::batch_cursor cursor{sampler_for(world), per_batch, at};
  while (cursor.epoch() < epochs) {
    const auto steps = static_cast<int>(replica.steps() - saved.steps);
    while (kill_after >= 0 && steps > kill_after + 2) pause();  // until it happens
    if (steps == kill_after && world.rank() == 0)
      std::thread{[&world, microseconds] {
        std::this_thread::sleep_for(std::chrono::microseconds{microseconds});
        for (int rank = world.size(); rank > 0; --rank)
          kill(world.shared()->process_of(rank - 1), SIGKILL);
      }}.detach();
    replica.backward([&](auto&& ready) { it.backward(cursor.batch(), ready, [] {}); });
    replica.step(it);
    taken.add({cursor.position(), world.size(), false});
    cursor.advance();
    if (world.rank() != 0) continue;
    allfold::state_writer writer;
    allfold::put_position(writer, "sampler", cursor.position());
    writer.put("counts", it.counts);
    writer.put("values", it.values);
    writer.put("speed", it.speed);
    writer.put("steps", replica.steps());
    put_history(writer, taken);
    allfold::save_state(path, writer.finish());
  }
  allfold::barrier(world);
}

/// True if all of them were killed.
bool run(const folder& here, int ranks, int kill_after, int microseconds) {
  const auto endings = allfold::try_spawn_processes(
      ranks,
      [&](allfold::processes::communicator& world) {
        train_and_save(world, here.state(), kill_after, microseconds);
      },
      quick);
  const bool killed = std::any_of(endings.begin(), endings.end(),
                                  [](const auto& each) { return each.signal == SIGKILL; });
  // Who hears of another's end before its own throws.
  for (const process_ending& each : endings)
    if (!killed) CHECK_MESSAGE(each.good(), each.in_words());
  return killed;
}

}  // namespace

TEST_CASE("a job that is killed goes on with two ranks instead of three, and then with four") {
  std::mt19937 random{31};
  for (int round = 0; round < 6; ++round) {
    const folder here;
    const auto at = [&] { return static_cast<int>(random() % 3000); };
    CAPTURE(round);
    CHECK(run(here, 3, 4, at()));
    CHECK(run(here, 2, 5, at()));
    CHECK(!run(here, 4, -1, 0));
    const allfold::state_reader state = allfold::load_state(here.state());
    const history taken = get_history(state);
    training found;
    state.get_into("counts", found.counts);
    state.get_into("values", found.values);

    // Each number of ranks has trained some of it, no sample was left out or trained on twice but
    // for the repetition at the ends of epochs, and one thread comes to the same bits.
    std::vector<int> steps(5);
    for (const taken_step& each : taken) ++steps[static_cast<std::size_t>(each.ranks)];
    CHECK(steps[3] > 0);
    CHECK(steps[2] > 0);
    CHECK(steps[4] > 0);
    CHECK(flaw_in(taken, 3, 0) == "");
    CHECK(found.same_bits(trained_serially(taken, false)));
    for (const float count : found.counts) CHECK(count >= epochs);
  }
}
