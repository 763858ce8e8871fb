// What goes on at the same time: the pieces of a message on two levels, and the lanes across.
#include <allfold/allfold.hpp>

#include "../communicator/outcome.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/engine.hpp"
#include "support/nodes.hpp"

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::direct;
using allfold::hierarchical;
using allfold::native;
using test::threads;

/// Connects lanes, and does something at the beginning of each of a rank's collectives across.
class watched_engine : public test::engine_over<threads> {
  using base = test::engine_over<threads>;

 public:
  using hook = std::function<void()>;
  /// `any_thread`: whether it may be called by another than the rank's own.
  watched_engine(threads ranks, hook before, bool any_thread = true)
      : base{std::move(ranks)}, before_{std::move(before)}, any_thread_{any_thread} {}
  bool is_for_any_thread() const { return any_thread_; }

  template <allfold::collective What, class T, class Operation>
  void native(const allfold::engine_call<What, T>& it, const Operation& operation) {
    if (What == allfold::collective::all_reduce) before_();
    base::native(it, operation);
  }

 private:
  hook before_;
  bool any_thread_;
};
using world = allfold::nodes::communicator<threads, watched_engine>;

/// What must come true while others go on; throws if it does not.
void await(const std::function<bool()>& condition, const std::string& what) {
  for (const auto end = std::chrono::steady_clock::now() + 5s; !condition();) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error{what};
    std::this_thread::sleep_for(100us);
  }
}

constexpr std::size_t elements = 1001;  // of four bytes: several pieces
constexpr allfold::nodes::options cut{.one_lane_bytes = 256, .piece_bytes = 512};

int pieces_of(int lanes) {
  const std::size_t one = cut.piece_bytes * static_cast<std::size_t>(lanes);
  return static_cast<int>((elements * sizeof(float) + one - 1) / one);
}
/// Folds a message of many pieces; its result must be right.
void fold(world& ranks) {
  std::vector<float> data(elements, static_cast<float>(ranks.rank() + 1));
  allfold::all_reduce<hierarchical<direct, native>>(ranks, data);
  const int size = ranks.size();
  if (data != std::vector<float>(elements, static_cast<float>(size * (size + 1) / 2)))
    throw std::logic_error{"wrong"};
}

void check_all_returned(const std::vector<outcome>& all) {
  for (const outcome& each : all) CHECK_MESSAGE(!each.told(), each.text);
}

}  // namespace

TEST_CASE("a piece is folded inside the nodes while the one before it is on its way across") {
  const int pieces = pieces_of(2);
  REQUIRE(pieces >= 4);
  check_all_returned(run_ranks(4, [&](threads& flat) {
    auto inside = flat.split(flat.rank() / 2);
    const int lane = inside.rank();
    // What this rank has completed inside: of each piece a fold, and later a gather.
    const std::atomic<std::uint64_t>& completed = inside.shared()->of(lane).completed;
    std::uint64_t before = 0;
    int piece = 0;
    const auto next_is_folded = [&] {
      const bool is_last = piece == pieces - 1;
      const std::uint64_t needed = before + 2 * static_cast<std::uint64_t>(piece++) + 2;
      if (!is_last)
        await([&] { return completed >= needed; },
              "piece " + std::to_string(piece) + " has to wait");
    };
    watched_engine across{flat.split(lane), next_is_folded};
    world ranks{std::move(inside), std::move(across), cut};
    CHECK(ranks.pipelined());
    before = completed;
    fold(ranks);
    if (piece != pieces) throw std::logic_error{std::to_string(piece) + " pieces"};
  }));
}

TEST_CASE("the lanes are at work across at the same time") {
  constexpr int nodes = 2, lanes = 3;
  std::atomic<int> begun[nodes][lanes]{};
  check_all_returned(run_ranks(nodes * lanes, [&](threads& flat) {
    auto inside = flat.split(flat.rank() / lanes);
    const int lane = inside.rank();
    std::atomic<int>(&here)[lanes] = begun[flat.rank() / lanes];
    const auto all_have_begun = [&] {
      const int own = ++here[lane];
      for (const std::atomic<int>& each : here)
        await([&] { return each >= own; },
              "lane " + std::to_string(lane) + " is alone at piece " + std::to_string(own - 1));
    };
    watched_engine across{flat.split(lane), all_have_begun};
    world ranks{std::move(inside), std::move(across), cut};
    fold(ranks);
    if (here[lane] != pieces_of(lanes)) throw std::logic_error{"other pieces"};
  }));
}

TEST_CASE("an engine that is for one thread of a rank is not called by another") {
  for (const int odd : {0, 3})  // one rank is enough
    check_all_returned(run_ranks(4, [&](threads& flat) {
      auto inside = flat.split(flat.rank() / 2);
      int calls = 0;
      const auto is_own = [&, own = std::this_thread::get_id()] {
        ++calls;
        if (std::this_thread::get_id() != own) throw std::runtime_error{"another thread"};
      };
      watched_engine across{flat.split(inside.rank()), is_own, flat.rank() != odd};
      world ranks{std::move(inside), std::move(across), cut};
      if (ranks.pipelined()) throw std::runtime_error{"it says that pieces overlap"};
      fold(ranks);
      if (calls != pieces_of(2)) throw std::logic_error{std::to_string(calls) + " pieces"};
    }));
}
