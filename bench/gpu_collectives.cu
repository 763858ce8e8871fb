// all_reduce of several ranks that share one GPU: this library's algorithms beside a kernel that
// nobody waits in, a plain copy and, where it can, NCCL. Figures are virtual busbw, HBM-bound.

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <optional>

#include "gpu_contenders.cuh"
#include "gpu_report.hpp"

namespace gpu_bench {
namespace {

using seconds = std::chrono::duration<double>;
using microseconds = std::chrono::duration<double, std::micro>;
using clock = std::chrono::steady_clock;

struct settings {
  std::vector<int> ranks{2, 4, 8};
  std::size_t least = 8, most = std::size_t{1} << 30;  // bytes of one rank
  std::size_t factor = 4;
  int rounds = 9;
  double minutes = 7;
  bool nccl = true, nccl_graphs = false;
  std::string results = "docs/results";
};

constexpr int skipped = 77;  // what CTest and Automake take for it

// ---- what is summed ----

/// Element i of rank r: a small whole number, so that every order of folding gives the same sum.
__device__ float value_of(int rank, std::size_t i) {
  std::uint64_t bits = i * 8 + static_cast<std::uint64_t>(rank);
  bits = (bits ^ (bits >> 31)) * 0x9e3779b97f4a7c15u;
  return static_cast<float>(static_cast<int>((bits >> 40) % 2001) - 1000);
}
__global__ void fill(float* input, std::size_t count, int rank) {
  const std::size_t threads = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += threads)
    input[i] = value_of(rank, i);
}
__global__ void count_wrong(const float* output, std::size_t count, int ranks,
                            unsigned long long* wrong) {
  const std::size_t threads = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += threads) {
    float sum = 0;
    for (int rank = 0; rank < ranks; ++rank) sum += value_of(rank, i);
    if (output[i] != sum) atomicAdd(wrong, 1ull);
  }
}
constexpr unsigned check_blocks = 512, check_threads = 256;

// ---- time ----

/// How long may be measured, shared out among what is still to come.
class budget {
 public:
  budget(double minutes, std::size_t parts)
      : end_{clock::now() + std::chrono::duration_cast<clock::duration>(seconds{60 * minutes})},
        parts_{parts} {}
  bool used_up() const { return clock::now() >= end_; }
  /// Until when the next part may go on.
  clock::time_point next_part() {
    const auto left = end_ - clock::now();
    return clock::now() + left / static_cast<long>(std::max<std::size_t>(parts_--, 1));
  }

 private:
  clock::time_point end_;
  std::size_t parts_;
};

/// Two events on a stream.
class stopwatch {
 public:
  stopwatch() {
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;
  void start(cudaStream_t on) { check(cudaEventRecord(begin_, on), "cudaEventRecord"); }
  void stop(cudaStream_t on) { check(cudaEventRecord(end_, on), "cudaEventRecord"); }
  /// µs, once the stream has come so far.
  double elapsed() const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return 1e3 * milliseconds;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// How many calls make about two milliseconds, if memory moves 10^12 bytes/s.
int calls_for(int ranks, std::size_t bytes) {
  const double us = 4 + 2 * ranks * static_cast<double>(bytes) / 1e6;
  return static_cast<int>(std::clamp(2000 / us, 1.0, 200.0));
}

// ---- one rank's part ----

/// A contender at one size.
struct entry {
  contender* who;
  std::optional<allfold::cuda::graph> recorded;
  std::vector<double> eager_us, graph_us;
  long wrong = -1;
};

class rank_of_bench {
 public:
  rank_of_bench(world& ranks, const settings& chosen, budget& time, report& found)
      : world_{ranks},
        chosen_{chosen},
        time_{time},
        report_{found},
        contenders_{contenders_of(ranks.size())},
        input_{chosen.most / sizeof(float)},
        output_{chosen.most / sizeof(float)} {
    fill<<<check_blocks, check_threads, 0, world_.stream()>>>(input_.data(), input_.size(),
                                                              world_.rank());
    check(cudaGetLastError(), "the launch of fill");
    world_.synchronize();
    share_addresses();
    add_nccl();
  }

  /// All sizes; every rank calls it.
  void run(const std::vector<std::size_t>& sizes) {
    for (const std::size_t bytes : sizes) {
      if (rank_0_says(time_.used_up())) {
        note("the time was up at " + std::to_string(world_.size()) + " ranks, " + size_name(bytes));
        return;
      }
      measure(bytes);
    }
  }

 private:
  bool first() const { return world_.rank() == 0; }
  void note(const std::string& text) {
    if (!first()) return;
    std::printf("# %s\n", text.c_str());
    report_.notes.push_back(text);
  }
  /// What rank 0 decides, on all ranks.
  bool rank_0_says(bool what) {
    int said = what ? 1 : 0;
    allfold::broadcast(world_.control(), std::span{&said, 1}, 0);
    return said != 0;
  }
  bool any_says(bool what) {
    int said = what ? 1 : 0;
    allfold::all_reduce(world_.control(), std::span{&said, 1}, allfold::maximum{});
    return said != 0;
  }

  void share_addresses() {
    const auto inputs = world_.gather_numbers(reinterpret_cast<std::uintptr_t>(input_.data()));
    const auto outputs = world_.gather_numbers(reinterpret_cast<std::uintptr_t>(output_.data()));
    for (std::size_t rank = 0; rank < inputs.size(); ++rank) {
      all_.input[rank] = reinterpret_cast<const float*>(inputs[rank]);
      all_.output[rank] = reinterpret_cast<float*>(outputs[rank]);
    }
  }
  operands with(std::size_t bytes) {
    return {input_.data(), output_.data(), bytes / sizeof(float), all_};
  }

  void add_nccl() {
#if GPU_BENCH_HAS_NCCL
    if (!chosen_.nccl || report_.on.nccl < by_nccl::first_version) return;
    std::string why;
    try {
      contenders_.push_back(std::make_unique<by_nccl>(world_, chosen_.nccl_graphs));
    } catch (const std::exception& thrown) {
      why = thrown.what();
    }
    if (!any_says(!why.empty())) return;
    if (why.empty()) contenders_.pop_back();
    note("nccl was skipped: " + (why.empty() ? "it failed on another rank" : why));
#endif
  }

  // ---- one size ----

  void measure(std::size_t bytes) {
    const auto until = time_part();
    calls_ = calls_for(world_.size(), bytes);
    std::vector<entry> entries;
    for (std::size_t i = 0; i < contenders_.size(); ++i)
      if (contenders_[i]->takes(bytes)) entries.push_back({contenders_[i].get(), {}, {}, {}});
    std::erase_if(entries,
                  [&](entry& each) { return !tries(each, [&] { prepare(each, bytes); }); });
    for (int round = 0; rank_0_says(round < 3 || (round < chosen_.rounds && clock::now() < until));
         ++round)
      std::erase_if(entries, [&](entry& each) {
        return !tries(each, [&] {
          sample_eager(each, bytes);
          if (each.recorded) sample_graph(each);
        });
      });
    if (first())
      for (const entry& each : entries) put(each, bytes);
  }
  clock::time_point time_part() { return first() ? time_.next_part() : clock::time_point{}; }

  /// Does some work of a contender's on all ranks. What goes wrong with NCCL ends its part alone;
  /// then false.
  template <class Work>
  bool tries(entry& of, Work work) {
    if (of.who->name() != "nccl") {
      work();
      return true;
    }
    std::string why;
    try {
      work();
    } catch (const std::exception& thrown) {
      why = thrown.what();
    }
    if (!any_says(!why.empty())) return true;
    note("nccl failed: " + why);
    std::erase_if(contenders_, [&](const auto& each) { return each.get() == of.who; });
    return false;
  }

  /// The first calls, whose outcome is checked, and the recording.
  void prepare(entry& it, std::size_t bytes) {
    it.who->call(world_, with(bytes));
    it.who->finish(world_);
    allfold::barrier(world_.control());
    if (it.who->sums()) it.wrong = wrong_after(*it.who, bytes);
    if (!it.who->works_in_graphs()) return;
    it.recorded = allfold::cuda::capture(world_, [&] {
      for (int call = 0; call < calls_; ++call) it.who->call(world_, with(bytes));
    });
    it.recorded->launch(world_);
    it.who->finish(world_);
  }
  long wrong_after(contender& who, std::size_t bytes) {
    const operands these = with(bytes);
    const allfold::cuda::device_buffer<unsigned long long> wrong{std::vector{0ull}};
    check(cudaMemsetAsync(these.output, 0xff, bytes, world_.stream()), "cudaMemsetAsync");
    world_.synchronize();
    allfold::barrier(world_.control());  // the oracle writes to all outputs
    who.call(world_, these);
    who.finish(world_);
    allfold::barrier(world_.control());
    count_wrong<<<check_blocks, check_threads, 0, world_.stream()>>>(
        these.output, these.count, world_.size(), const_cast<unsigned long long*>(wrong.data()));
    check(cudaGetLastError(), "the launch of count_wrong");
    world_.synchronize();
    std::uint64_t total = 0;
    for (const std::uint64_t each : world_.gather_numbers(wrong.to_host()[0])) total += each;
    return static_cast<long>(total);
  }

  void sample_eager(entry& it, std::size_t bytes) {
    it.who->finish(world_);
    allfold::barrier(world_.control());
    const auto begin = clock::now();
    for (int call = 0; call < calls_; ++call) it.who->call(world_, with(bytes));
    it.who->finish(world_);
    const microseconds taken = clock::now() - begin;
    allfold::barrier(world_.control());
    it.eager_us.push_back(taken.count() / calls_);
  }
  /// The second of two replays: it is there before the first has ended, and so waits for nothing.
  void sample_graph(entry& it) {
    it.who->finish(world_);
    allfold::barrier(world_.control());
    it.recorded->launch(world_);
    if (first()) watch_.start(world_.stream());
    it.recorded->launch(world_);
    if (first()) watch_.stop(world_.stream());
    it.who->finish(world_);
    allfold::barrier(world_.control());
    if (first()) it.graph_us.push_back(watch_.elapsed() / calls_);
  }

  void put(const entry& it, std::size_t bytes) {
    const auto add = [&](const char* mode, std::vector<double> us) {
      if (us.empty()) return;
      std::sort(us.begin(), us.end());
      report_.rows.push_back({it.who->name(), mode, world_.size(), bytes, bytes / sizeof(float),
                              us[us.size() / 2], us[0], static_cast<int>(us.size()), it.wrong});
      std::printf("%s   %d ranks, %s, %s: %.2f of the oracle\n",
                  in_columns(report_.rows.back()).c_str(), world_.size(), mode,
                  it.who->name().c_str(), report_.to_oracle(report_.rows.back()));
    };
    add(eager, it.eager_us);
    add(in_graph, it.graph_us);
  }

  world& world_;
  const settings& chosen_;
  budget& time_;
  report& report_;  ///< rank 0's alone
  std::vector<std::unique_ptr<contender>> contenders_;
  allfold::cuda::device_buffer<float> input_, output_;
  all_buffers all_{};
  stopwatch watch_;
  int calls_ = 1;
};

// ---- the program ----

card card_here() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  card here;
  here.name = properties.name;
  here.multiprocessors = properties.multiProcessorCount;
  here.memory_bytes = properties.totalGlobalMem;
  here.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  check(cudaDriverGetVersion(&here.driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&here.runtime), "cudaRuntimeGetVersion");
#if GPU_BENCH_HAS_NCCL
  ncclGetVersion(&here.nccl);
#endif
  return here;
}

std::string why_without_nccl(const settings& chosen, const card& here) {
#if GPU_BENCH_HAS_NCCL
  if (!chosen.nccl) return "nccl was skipped: it was not wanted";
  if (here.nccl < by_nccl::first_version)
    return "nccl was skipped: version " + std::to_string(here.nccl) + " is older than " +
           std::to_string(by_nccl::first_version) +
           ", the first that takes several ranks on one GPU";
  return "";
#else
  static_cast<void>(chosen);
  static_cast<void>(here);
  return "nccl was skipped: the program was built without it";
#endif
}

/// From the least to the most, of which inputs and outputs of so many ranks fit the card's memory.
std::vector<std::size_t> sizes_for(const settings& chosen, int ranks, std::size_t free) {
  std::size_t most = chosen.most;
  while (2 * static_cast<std::size_t>(ranks) * most > free / 10 * 9) most /= 2;
  std::vector<std::size_t> sizes;
  for (std::size_t bytes = chosen.least; bytes < most; bytes *= chosen.factor)
    sizes.push_back(bytes);
  sizes.push_back(most);
  return sizes;
}

void measure_all(const settings& chosen, report& found) {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  std::size_t parts = 0;
  for (const int ranks : chosen.ranks) parts += sizes_for(chosen, ranks, free).size();
  budget time{chosen.minutes, parts};
  std::printf("# %s: %s\n%s\n", found.on.name.c_str(), label, columns().c_str());
  for (const int ranks : chosen.ranks) {
    const std::vector<std::size_t> sizes = sizes_for(chosen, ranks, free);
    settings fitting = chosen;
    fitting.most = sizes.back();
    allfold::cuda::spawn<allfold::cuda::gpu_scope>(
        std::vector<int>(static_cast<std::size_t>(ranks), 0),
        [&](world& ranks) {
          rank_of_bench{ranks, fitting, time, found}.run(sizes);
        },
        {.timeout = std::chrono::minutes{2}});
  }
}

/// The exit status: 0 if all went well and all sums were right.
int run(const settings& chosen) {
  report found;
  found.on = card_here();
  const std::string without = why_without_nccl(chosen, found.on);
  if (!without.empty()) found.notes.push_back(without);
  int status = 0;
  try {
    measure_all(chosen, found);
  } catch (const std::exception& thrown) {
    std::fprintf(stderr, "gpu_collectives: %s\n", thrown.what());
    found.notes.push_back(std::string{"the measurement ended with an error: "} + thrown.what());
    status = 1;
  }
  for (const row& each : found.rows)
    if (each.wrong > 0) {
      std::fprintf(stderr, "WRONG: %s, %d ranks, %zu bytes: %ld elements\n", each.contender.c_str(),
                   each.ranks, each.bytes, each.wrong);
      status = 1;
    }
  for (const auto& path : found.write(chosen.results)) std::printf("# wrote %s\n", path.c_str());
  return status;
}

void declare(CLI::App& app, settings& chosen) {
  app.option_defaults()->always_capture_default();
  app.add_option("--ranks", chosen.ranks, "that share the GPU: 2, 4 and 8, or some of them")
      ->check(CLI::IsMember({2, 4, 8}));
  app.add_option("--least", chosen.least, "bytes of a rank's elements")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--most", chosen.most, "as far as memory allows")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--factor", chosen.factor, "from size to size")->check(CLI::Range(2, 1024));
  app.add_option("--rounds", chosen.rounds, "in which all contenders take turns, at most")
      ->check(CLI::Range(3, 1000));
  app.add_option("--minutes", chosen.minutes, "after which no further size is begun")
      ->check(CLI::Range(0.1, 600.0));
  app.add_flag("--nccl,!--no-nccl", chosen.nccl, "also NCCL, from version 2.30 on");
  app.add_flag("--nccl-graphs", chosen.nccl_graphs, "NCCL in graphs as well");
  app.add_option("--results", chosen.results, "the folder of gpu-<card>.json and .md");
}

}  // namespace
}  // namespace gpu_bench

int main(int count, char** values) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);  // lines in time, though in a pipe
  gpu_bench::settings chosen;
  CLI::App app{"all_reduce of several ranks on one GPU, beside what the GPU can do at most."};
  gpu_bench::declare(app, chosen);
  CLI11_PARSE(app, count, values);
  chosen.least = std::max<std::size_t>(chosen.least / 4 * 4, 4);
  chosen.most = std::max(chosen.most / 4 * 4, chosen.least);

  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(found));
    return gpu_bench::skipped;
  }
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0);  // before NCCL looks
  return gpu_bench::run(chosen);
}
