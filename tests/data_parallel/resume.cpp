#include <allfold/data_parallel/data_parallel.hpp>
#include <allfold/data_parallel/resume.hpp>
#include <allfold/data_parallel/strategy.hpp>
#include <allfold/launch/spawn.hpp>
#include <allfold/schedule/ring.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <source_location>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using allfold::distributed_sampler;
using allfold::last_batch;
using allfold::sampler_options;
using allfold::sampler_position;
using batch_list = std::vector<std::vector<std::size_t>>;

constexpr std::size_t lengths[] = {1, 4, 23, 60};
constexpr std::size_t batch_sizes[] = {1, 2, 3, 7, 100};
constexpr sampler_options choices[] = {{.seed = 3, .shuffle = true, .drop_last = false},
                                       {.seed = 3, .shuffle = true, .drop_last = true},
                                       {.seed = 3, .shuffle = false, .drop_last = false},
                                       {.seed = 3, .shuffle = false, .drop_last = true}};

batch_list listed(const allfold::sample_batches& batches) {
  batch_list list;
  for (const auto batch : batches) list.emplace_back(batch.begin(), batch.end());
  return list;
}

/// What comes out of a saved state that `position` went into.
sampler_position saved_and_loaded(const sampler_position& position) {
  allfold::state_writer writer;
  allfold::put_position(writer, "sampler", position);
  return allfold::get_position(allfold::state_reader{writer.finish()}, "sampler");
}

/// How often `ranks` ranks train on each sample from `from` on, in `steps` steps or to the end of
/// the epoch if it is sooner. The position goes on to where they are then.
struct progress {
  std::size_t length, per_batch;
  sampler_options options;
  std::vector<int> times = std::vector<int>(length);
  sampler_position at = distributed_sampler{length, 0, 1, options}.start_of(2);

  void train(int ranks, std::size_t steps) {
    const sampler_position from = at;
    for (int rank = 0; rank < ranks; ++rank) {
      const distributed_sampler sampler{length, rank, ranks, options};
      const batch_list batches = listed(sampler.batches_from(from, per_batch));
      sampler_position now = from;
      for (std::size_t step = 0; step < std::min(steps, batches.size()); ++step) {
        for (const std::size_t sample : batches[step]) ++times.at(sample);
        now = sampler.after_batch(now, per_batch);
      }
      if (rank > 0) CHECK(now == at);  // all ranks come to the same
      at = saved_and_loaded(now);
    }
  }
  bool is_over() const { return at.epoch != 2; }
};

/// With the least and the most times that a sample may be trained on, after an epoch in which
/// `last_ranks` have come to its end.
void check_epoch(const progress& run, int last_ranks) {
  const auto total = static_cast<int>(run.length);
  const int sum = std::accumulate(run.times.begin(), run.times.end(), 0);
  const auto [least, most] = std::minmax_element(run.times.begin(), run.times.end());
  if (run.options.drop_last) {
    CHECK(*most <= 1);
    CHECK(sum > total - last_ranks);
  } else {
    CHECK(*least >= 1);
    CHECK(sum < total + last_ranks);
    if (last_ranks <= total) CHECK(*most <= 2);
  }
}

// `call` is written on the same line as `refused`, and so on the line that the error must name.
void refused(auto&& call, const std::string& why,
             std::source_location here = std::source_location::current()) {
  std::string text = "no usage_error";
  try {
    call();
  } catch (const allfold::usage_error& error) {
    text = error.what();
  }
  CHECK(text == "distributed_sampler on rank 1: " + why + ", at " + allfold::place_of(here));
}

}  // namespace

TEST_CASE("after a cut anywhere, the ranks get the batches that would have come") {
  std::size_t cuts = 0;
  for (const auto& options : choices)
    for (const std::size_t length : lengths)
      for (const std::size_t per_batch : batch_sizes)
        for (const auto last : {last_batch::keep, last_batch::drop})
          for (int ranks = 1; ranks <= 5; ++ranks)
            for (int rank = 0; rank < ranks; ++rank) {
              INFO("length ", length, ", per_batch ", per_batch, ", rank ", rank, " of ", ranks);
              const distributed_sampler sampler{length, rank, ranks, options};
              const batch_list whole = listed(sampler.batches(5, per_batch, last));
              sampler_position at = sampler.start_of(5);
              for (std::size_t cut = 0; cut < whole.size(); ++cut, ++cuts) {
                const batch_list rest{whole.begin() + static_cast<std::ptrdiff_t>(cut),
                                      whole.end()};
                CHECK(at.samples_done == cut * per_batch * static_cast<std::size_t>(ranks));
                const distributed_sampler fresh{length, rank, ranks, options};
                CHECK(listed(fresh.batches_from(saved_and_loaded(at), per_batch, last)) == rest);
                at = sampler.after_batch(at, per_batch, last);
              }
              if (!whole.empty()) CHECK(at == sampler.start_of(6));
            }
  CHECK(cuts > 7'000);
}

TEST_CASE("on another number of ranks each sample of the epoch is trained on once") {
  for (const auto& options : choices)
    for (const std::size_t length : lengths)
      for (const std::size_t per_batch : {1u, 2u, 3u, 7u})
        for (int before = 1; before <= 5; ++before)
          for (int after = 1; after <= 5; ++after)
            for (std::size_t cut = 0; cut <= length; ++cut) {
              INFO("length ", length, ", per_batch ", per_batch, ", from ", before, " to ", after,
                   " ranks after step ", cut, ", drop_last ", options.drop_last);
              progress run{length, per_batch, options};
              run.train(before, cut);
              if (run.is_over()) break;
              run.train(after, length);
              check_epoch(run, after);
            }
}

TEST_CASE("the number of ranks may change in every step") {
  for (const auto& options : choices) {
    progress run{60, 2, options};
    const int ranks[] = {3, 5, 1, 4, 2, 5, 3, 2, 2, 3};  // 60 samples in the end, two for each
    for (const int each : ranks) {
      CHECK(!run.is_over());
      run.train(each, 1);
    }
    CHECK(run.is_over());
    CHECK(run.times == std::vector<int>(60, 1));
  }
}

TEST_CASE("if the ranks take as many samples together, each step is of the same samples") {
  const std::size_t length = 50;
  const auto steps = [&](const sampler_position& from, int ranks, std::size_t per_batch) {
    batch_list all;
    for (int rank = 0; rank < ranks; ++rank) {
      const distributed_sampler sampler{length, rank, ranks, {.seed = 3}};
      const batch_list own = listed(sampler.batches_from(from, per_batch));
      all.resize(own.size());
      for (std::size_t i = 0; i < own.size(); ++i)
        all[i].insert(all[i].end(), own[i].begin(), own[i].end());
    }
    for (auto& step : all) std::ranges::sort(step);
    return all;
  };
  const distributed_sampler sampler{length, 0, 2, {.seed = 3}};
  const sampler_position at = sampler.after_batch(sampler.start_of(1), 6);  // 38 are left
  batch_list two = steps(at, 2, 6), three = steps(at, 3, 4), other = steps(at, 3, 3);
  REQUIRE(two.size() == 4);
  REQUIRE(three.size() == 4);
  CHECK(other.front() != two.front());
  two.pop_back();  // 2 are left, for 3 ranks with a repetition
  three.pop_back();
  CHECK(two == three);
}

TEST_CASE("an epoch without batches") {
  const distributed_sampler empty{0, 1, 2}, few{3, 1, 5, {.drop_last = true}};
  CHECK(empty.batches_from(empty.start_of(0), 4).empty());
  CHECK(empty.after_batch(empty.start_of(0), 4) == empty.start_of(1));
  CHECK(few.batches_from(few.start_of(0), 4).empty());
  CHECK(few.after_batch(few.start_of(0), 4) == few.start_of(1));
  const distributed_sampler short_of{6, 1, 2};
  CHECK(short_of.batches_from(short_of.start_of(0), 4, last_batch::drop).empty());
  CHECK(short_of.after_batch(short_of.start_of(0), 4, last_batch::drop) == short_of.start_of(1));
}

TEST_CASE("sizes at the end of what an integer holds") {
  const auto most = std::numeric_limits<std::size_t>::max();
  const distributed_sampler sampler{most, 1, 2, {.shuffle = false}};
  const sampler_position at = sampler.after_batch(sampler.start_of(0), most / 2);
  CHECK(at.samples_done == most - 1);
  CHECK(sampler.after_batch(at, most) == sampler.start_of(1));
}

TEST_CASE("a position comes back from a state, or is named as missing") {
  const sampler_position position{1ull << 40, 12, 90, ~0ull, false, true};
  CHECK(saved_and_loaded(position) == position);
  CHECK(saved_and_loaded({}) == sampler_position{});
  CHECK(saved_and_loaded({}) != position);
  allfold::state_writer writer;
  writer.put("sampler.epoch", std::uint64_t{1});
  std::string text = "nothing";
  try {
    allfold::get_position(allfold::state_reader{writer.finish()}, "sampler");
  } catch (const allfold::state_error& error) {
    text = error.what();
  }
  CHECK(
      text.starts_with("allfold: state, section \"sampler.samples_done\": expected uint64, found "
                       "no such section among \"sampler.epoch\", at resume.cpp:"));
}

TEST_CASE("a position of something else is refused by name") {
  const distributed_sampler sampler{90, 1, 2, {.seed = 4}};
  const sampler_position good = sampler.start_of(3);
  const auto with = [&](auto sampler_position::*member, auto value) {
    sampler_position changed = good;
    changed.*member = value;
    return changed;
  };
  using p = sampler_position;
  const auto size = with(&p::total, 91u), seed = with(&p::seed, 5u),
             late = with(&p::samples_done, 91u);
  const auto order = with(&p::shuffle, false), drop = with(&p::drop_last, true);
  CHECK(sampler.batches_from(with(&p::samples_done, 90u), 8).empty());
  refused([&] { sampler.batches_from(size, 8); },
          "the position is of data set size 91, the sampler of 90");
  refused([&] { sampler.after_batch(size, 8); },
          "the position is of data set size 91, the sampler of 90");
  refused([&] { sampler.batches_from(seed, 8); }, "the position is of seed 5, the sampler of 4");
  refused([&] { sampler.batches_from(order, 8); },
          "the position is of shuffle 0, the sampler of 1");
  refused([&] { sampler.batches_from(drop, 8); },
          "the position is of drop_last 1, the sampler of 0");
  refused([&] { sampler.batches_from(late, 8); }, "the position is after 91 samples of 90");
  refused([&] { sampler.batches_from(good, 0); }, "the batch size is 0; it must be positive");
  refused([&] { sampler.after_batch(good, -1); }, "the batch size is -1; it must be positive");
  refused([&] { sampler.start_of(-1); }, "the epoch is -1; it must not be negative");
}

namespace {

/// Fits 3x − 1, with momentum; the result depends on the order of the samples.
struct line {
  std::array<float, 2> values{}, slopes{}, momentum{};
  auto parameters() { return std::array{std::span{values}}; }
  auto gradients() { return std::array{std::span{slopes}}; }

  void backward(std::span<const std::size_t> samples) {
    slopes = {};
    for (const std::size_t sample : samples) {
      const float x = static_cast<float>(sample) / 50.0f - 1.0f;
      const float error = values[0] * x + values[1] - (3.0f * x - 1.0f);
      slopes[0] += error * x / static_cast<float>(samples.size());
      slopes[1] += error / static_cast<float>(samples.size());
    }
  }
};

/// Trains two epochs by `ranks` ranks from the state `from` on, or from the beginning if it is
/// empty; returns the values, and in `saved` the state after `steps` steps.
template <class Strategy>
std::array<float, 2> train(int ranks, const std::vector<std::byte>& from, int steps,
                           std::vector<std::byte>& saved) {
  std::array<float, 2> result{};
  allfold::spawn(ranks, [&](auto& world) {
    line model;
    const distributed_sampler sampler{101, world, {.seed = 9}};
    sampler_position at = sampler.start_of(0);
    if (!from.empty()) {
      const allfold::state_reader reader{from};
      reader.get_into("values", model.values);
      reader.get_into("momentum", model.momentum);
      at = allfold::get_position(reader, "sampler");
    }
    allfold::data_parallel<line, Strategy> replica{model, world};
    const auto descend = [&](std::span<float> values, std::span<const float> gradient) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        model.momentum[i] = 0.9f * model.momentum[i] + gradient[i];
        values[i] -= 0.1f * model.momentum[i];
      }
    };
    int step = 0;
    for (auto epoch = at.epoch; epoch < 2; at = sampler.start_of(++epoch))
      for (const auto batch : sampler.batches_from(at, 8)) {
        model.backward(batch);
        replica.reduce_gradients();
        replica.step(descend);
        at = sampler.after_batch(at, 8);
        if (++step != steps || world.rank() != 0) continue;
        allfold::state_writer writer;
        writer.put("values", model.values);
        writer.put("momentum", model.momentum);
        allfold::put_position(writer, "sampler", at);
        saved = writer.finish();
      }
    if (world.rank() == 0) result = model.values;
  });
  return result;
}

}  // namespace

TEST_CASE_TEMPLATE("a training that was cut ends with the same bits", Strategy,
                   allfold::primary_device<>, allfold::distributed<allfold::ring>) {
  for (const int steps : {1, 4, 5, 7}) {  // 5 steps of 3 ranks are an epoch
    std::vector<std::byte> saved, ignored;
    const auto whole = train<Strategy>(3, {}, steps, saved);
    REQUIRE(!saved.empty());
    CHECK(train<Strategy>(3, saved, 0, ignored) == whole);
    CHECK(train<Strategy>(2, saved, 0, ignored) != whole);
  }
}
