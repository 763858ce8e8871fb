// Provokes the library's errors and puts their texts into docs/errors.md.
#include "documentation.hpp"

#include <allfold/allfold.hpp>
#include <allfold/data_parallel/state.hpp>

#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <exception>
#include <functional>
#include <regex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using world_of = allfold::threads::communicator;
using namespace std::chrono_literals;

/// A text without what differs: g++ writes `sum` where clang writes `allfold::sum`, and a rank has
/// left some milliseconds ago.
std::string typical(std::string text) {
  for (auto at = text.find("allfold::"); at != text.npos; at = text.find("allfold::"))
    text.erase(at, 9);
  return std::regex_replace(text, std::regex{"left [0-9]+ ms ago"}, "left 1 ms ago");
}

/// What rank `rank` of two is told when both run `body`.
std::string told(int rank, const std::function<void(world_of&)>& body,
                 allfold::spawn_options options = {}) {
  const auto thrown = allfold::try_spawn(2, body, options);
  try {
    if (thrown[static_cast<std::size_t>(rank)])
      std::rethrow_exception(thrown[static_cast<std::size_t>(rank)]);
  } catch (const std::exception& error) {
    return typical(error.what());
  }
  return "nothing";
}

std::string different_counts() {
  return told(0, [](world_of& world) {
    std::vector<float> gradient(world.rank() == 0 ? 1000 : 999);
    allfold::all_reduce<allfold::ring>(world, gradient);
  });
}

std::string different_collectives() {
  return told(1, [](world_of& world) {
    std::vector<float> gradient(1000);
    if (world.rank() == 0)
      allfold::all_reduce<allfold::ring>(world, gradient);
    else
      allfold::barrier(world);
  });
}

std::string no_such_root() {
  return told(0, [](world_of& world) {
    std::vector<int> word{42};
    allfold::broadcast(world, word, 2);
  });
}

std::string wrong_size_elsewhere() {
  return told(0, [](world_of& world) {
    std::vector<int> all(4), mine(world.rank() == 1 ? 3 : 2);
    allfold::reduce_scatter(world, all, mine);
  });
}

std::string late() {
  std::atomic<bool> is_told = false;
  std::atomic<bool> is_elsewhere = false;  // so that it is not seen to leave the barrier
  const auto body = [&](world_of& world) {
    allfold::barrier(world);
    if (world.rank() == 1) {  // comes late, say for a slow disk
      is_elsewhere = true;
      is_elsewhere.notify_one();
      return is_told.wait(false);
    }
    is_elsewhere.wait(false);
    std::vector<float> gradient(1000);
    try {
      allfold::all_reduce<allfold::ring>(world, gradient);
    } catch (...) {
      is_told = true;
      is_told.notify_one();
      throw;
    }
  };
  return told(0, body, {.timeout = 200ms});
}

std::string gone() {
  return told(0, [](world_of& world) {
    allfold::barrier(world);
    if (world.rank() == 0) allfold::barrier(world);
  });
}

std::string thrown_elsewhere() {
  return told(0, [](world_of& world) {
    if (world.rank() == 1) throw std::runtime_error{"sample 31415 can't be decoded"};
    std::vector<float> gradient(1000);
    allfold::all_reduce(world, gradient);
  });
}

struct layer {
  std::vector<float> weights, slopes;
  explicit layer(std::size_t width) : weights(width), slopes(width) {}
  auto parameters() { return std::array{std::span{weights}}; }
  auto gradients() { return std::array{std::span{slopes}}; }
  auto names() { return std::array{"layer1.weight"}; }
};
using replica_of_layer = allfold::data_parallel<layer, allfold::distributed<>>;

std::string different_models() {
  std::barrier both{2};  // so that neither hears of the other's end instead
  return told(0, [&](world_of& world) {
    layer model{world.rank() == 0 ? 512u : 256u};
    try {
      replica_of_layer replica{model, world};
    } catch (const allfold::mismatch_error&) {
      both.arrive_and_wait();
      throw;
    }
  });
}

std::string never_ready() {
  return told(0, [](world_of& world) {
    layer model{512};
    replica_of_layer replica{model, world};
    replica.backward([&](auto&& ready) {
      if (world.rank() == 1) ready(0);
    });
  });
}

std::string given_up() {
  return told(0, [](world_of& world) {
    if (world.rank() == 1) world.abort("the loss is not finite");
    if (world.rank() == 0) allfold::barrier(world);
  });
}

/// What rank 0 is told when it reads a state, of which byte `changed` was changed, as `read` does.
std::string told_of_state(std::size_t changed, void (*read)(const allfold::state_reader&)) {
  return told(0, [&](world_of& world) {
    if (world.rank() != 0) return;
    allfold::state_writer writer;
    writer.put("learning rate", 0.1);
    std::vector<std::byte> bytes = writer.finish();
    if (changed < bytes.size()) bytes[changed] ^= std::byte{1};
    read(allfold::state_reader{std::move(bytes)});
  });
}

std::string changed_state() {
  return told_of_state(50, [](const allfold::state_reader&) {});
}

std::string another_type() {
  return told_of_state(std::string::npos, [](const allfold::state_reader& reader) {
    static_cast<void>(reader.get<float>("learning rate"));
  });
}

std::string block(const std::string& text) { return "```text\n" + text + "\n```\n"; }

}  // namespace

int main(int count, char** values) {
  documentation docs{count, values};
  const std::pair<const char*, std::string (*)()> all[] = {
      {"different counts", different_counts},
      {"different collectives", different_collectives},
      {"no such root", no_such_root},
      {"wrong size elsewhere", wrong_size_elsewhere},
      {"late", late},
      {"gone", gone},
      {"thrown elsewhere", thrown_elsewhere},
      {"different models", different_models},
      {"never ready", never_ready},
      {"given up", given_up},
      {"changed state", changed_state},
      {"another type", another_type},
  };
  for (const auto& [mark, provoke] : all) docs.section("errors.md", mark, block(provoke()));
  return docs.result();
}
