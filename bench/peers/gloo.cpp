// Gloo's all-reduce over TCP on this machine's loopback; ranks are threads.
#include "serve.hpp"

#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/hash_store.h>
#include <gloo/transport/tcp/device.h>

#include <atomic>
#include <barrier>
#include <memory>
#include <thread>

namespace {

/// What the ranks share beside Gloo: it carries the orders, and measures nothing.
struct table {
  explicit table(int size) : all{size} {}
  std::barrier<> all;
  peers::line text{};
  std::atomic<bool> right{true};
  gloo::rendezvous::HashStore store;
};

class gloo_rank {
 public:
  gloo_rank(table& shared, int rank, int size) : shared_{shared}, rank_{rank}, size_{size} {
    auto device = gloo::transport::tcp::CreateDevice("localhost");
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
    context->setTimeout(std::chrono::hours{1});
    context->connectFullMesh(shared.store, device);
    context_ = context;
  }
  int rank() const { return rank_; }
  int size() const { return size_; }
  void send(peers::line& text) {
    if (rank_ == 0) shared_.text = text;
    shared_.all.arrive_and_wait();
    text = shared_.text;
    shared_.all.arrive_and_wait();
  }
  void meet() {
    gloo::BarrierOptions options{context_};
    options.setTag(1);
    gloo::barrier(options);
  }
  bool all_of(bool flag) {
    if (rank_ == 0) shared_.right = true;
    shared_.all.arrive_and_wait();
    if (!flag) shared_.right = false;
    shared_.all.arrive_and_wait();
    return shared_.right;
  }
  const std::shared_ptr<gloo::Context>& context() const { return context_; }

  using calls = void (*)(gloo_rank&, peers::work&, int);
  static calls find(const std::string& collective, const std::string& contender);

 private:
  table& shared_;
  int rank_, size_;
  std::shared_ptr<gloo::Context> context_;
};

template <gloo::AllreduceOptions::Algorithm Algorithm>
void with_options(gloo_rank& rank, peers::work& it, int iterations) {
  gloo::AllreduceOptions options{rank.context()};
  options.setAlgorithm(Algorithm);
  options.setOutput(it.out(), it.count());
  options.setReduceFunction(
      static_cast<void (*)(void*, const void*, const void*, std::size_t)>(&gloo::sum<float>));
  options.setTag(2);
  for (int i = 0; i < iterations; ++i) gloo::allreduce(options);
}

void halving_doubling(gloo_rank& rank, peers::work& it, int iterations) {
  gloo::AllreduceHalvingDoubling<float> algorithm{
      rank.context(), {it.out()}, static_cast<int>(it.count())};
  for (int i = 0; i < iterations; ++i) algorithm.run();
}

gloo_rank::calls gloo_rank::find(const std::string& collective, const std::string& contender) {
  using algorithm = gloo::AllreduceOptions::Algorithm;
  if (collective != "all_reduce") return nullptr;
  if (contender == "ring") return with_options<algorithm::RING>;
  if (contender == "bcube") return with_options<algorithm::BCUBE>;
  if (contender == "halving_doubling") return halving_doubling;
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const int size = argc > 1 ? std::stoi(argv[1]) : 2;
  table shared{size};
  std::vector<std::thread> ranks;
  for (int r = 0; r < size; ++r)
    ranks.emplace_back([&shared, r, size] {
      gloo_rank rank{shared, r, size};  // its threads are made here, and run where they like
      peers::bind(r);
      shared.all.arrive_and_wait();
      if (r == 0) peers::announce({static_cast<int>(getpid())});
      peers::server{rank}();
    });
  for (std::thread& each : ranks) each.join();
}
