// A convolutional network of LibTorch's, with batch normalisation, on Fashion-MNIST: by ranks that
// are threads, kept equal as PyTorch's DataParallel does it, and as DistributedDataParallel does.
//
//   torch_ddp [RANKS [EPOCHS [IMAGES [FOLDER]]]]
//
// Prints the ranks' mean loss of every step. train.py trains the same by PyTorch itself.

#include <torch/nn.h>
#include <torch/optim.h>

#include <allfold/adapt/torch.hpp>
#include <allfold/allfold.hpp>

#include "dataset.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

using network = torch::nn::Sequential;

struct settings {
  int ranks = 2;
  int epochs = 1;
  std::size_t images = 60'000;
  std::string folder = "/usr/share/datasets/fashion-mnist";
};
constexpr std::size_t batch = 32;  // of each rank

/// Drawn from LibTorch's generator, one for all threads: so one network after the other.
network make_network() {
  using namespace torch::nn;
  torch::manual_seed(0);
  return network{Conv2d{Conv2dOptions{1, 8, 3}.bias(false)},
                 BatchNorm2d{8},
                 ReLU{},
                 MaxPool2d{2},
                 Conv2d{Conv2dOptions{8, 16, 3}.bias(false)},
                 BatchNorm2d{16},
                 ReLU{},
                 MaxPool2d{2},
                 Flatten{},
                 Linear{400, 10}};
}

/// Images and classes, chosen by their indices. Read by all ranks.
class samples {
 public:
  explicit samples(const fashion_mnist::dataset& data)
      : images_{torch::tensor(torch::ArrayRef<std::uint8_t>{data.images}).view({-1, 1, 28, 28})},
        classes_{torch::tensor(torch::ArrayRef<std::uint8_t>{data.labels}).to(torch::kLong)} {}

  std::size_t size() const { return static_cast<std::size_t>(classes_.size(0)); }
  torch::Tensor images(const torch::Tensor& which) const {
    return images_.index_select(0, which).to(torch::kFloat).div(255).sub(0.2860).div(0.3530);
  }
  torch::Tensor classes(const torch::Tensor& which) const {
    return classes_.index_select(0, which);
  }

 private:
  torch::Tensor images_, classes_;
};

torch::Tensor indices(std::span<const std::size_t> which) {
  return torch::tensor(std::vector<std::int64_t>{which.begin(), which.end()});
}

double share_told_right(network& net, const samples& data) {
  const torch::NoGradGuard quiet;
  net->eval();
  const torch::Tensor all = torch::arange(static_cast<std::int64_t>(data.size()));
  return net->forward(data.images(all))
      .argmax(1)
      .eq(data.classes(all))
      .to(torch::kFloat)
      .mean()
      .item<double>();
}

/// One rank's life.
template <class Strategy>
void train(auto& world, network& net, const samples& data, const settings& how) {
  torch::set_num_threads(1);  // a rank is a thread: none of them starts more
  allfold::torch_model model{net};
  allfold::data_parallel<allfold::torch_model<>, Strategy> replica{model, world};
  torch::optim::SGD optimizer{net->parameters(), torch::optim::SGDOptions{0.05}.momentum(0.9)};
  const allfold::distributed_sampler sampler{data.size(), world, {.seed = 0}};
  int step = 0;
  for (int epoch = 0; epoch < how.epochs; ++epoch)
    for (const auto chosen : sampler.batches(static_cast<std::uint64_t>(epoch), batch)) {
      const torch::Tensor which = indices(chosen);
      net->zero_grad();
      const torch::Tensor loss = replica.forward([&] {
        return torch::cross_entropy_loss(net->forward(data.images(which)), data.classes(which));
      });
      model.backward(replica, loss);
      replica.step([&] { optimizer.step(); });

      float mean = loss.item<float>();
      allfold::all_reduce(world, std::span{&mean, 1}, allfold::average{});
      if (world.rank() == 0)
        std::printf("%.*s %d %.9g\n", static_cast<int>(Strategy::name.size()),
                    Strategy::name.data(), step, static_cast<double>(mean));
      ++step;
    }
}

/// Trains by a strategy; rank 0's network.
template <class Strategy>
network trained(const samples& data, const settings& how) {
  std::vector<network> nets;
  for (int rank = 0; rank < how.ranks; ++rank) nets.push_back(make_network());
  allfold::spawn(how.ranks, [&](auto& world) {
    train<Strategy>(world, nets[static_cast<std::size_t>(world.rank())], data, how);
  });
  return nets[0];
}

bool same_parameters(const network& a, const network& b) {
  const auto of_a = a->parameters(), of_b = b->parameters();
  for (std::size_t i = 0; i < of_a.size(); ++i)
    if (!of_a[i].equal(of_b[i])) return false;
  return of_a.size() == of_b.size();
}

int run(const settings& how) {
  const samples data{fashion_mnist::load(how.folder, "train", how.images)};
  const samples unseen{fashion_mnist::load(how.folder, "t10k", 2000)};
  network dp = trained<allfold::primary_device<>>(data, how);
  network ddp = trained<allfold::distributed<allfold::direct>>(data, how);
  std::printf("%.1f %% of the test's images are told right\n", 100 * share_told_right(ddp, unseen));
  const bool same = same_parameters(dp, ddp);
  std::printf("DP and DDP came to %s parameters\n", same ? "the same" : "DIFFERENT");
  return same ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  settings how;
  if (count > 1) how.ranks = std::atoi(values[1]);
  if (count > 2) how.epochs = std::atoi(values[2]);
  if (count > 3) how.images = static_cast<std::size_t>(std::atol(values[3]));
  if (count > 4) how.folder = values[4];
  if (how.ranks < 1 || how.epochs < 1 || how.images < 1) {
    std::fprintf(stderr, "usage: %s [RANKS [EPOCHS [IMAGES [FOLDER]]]]\n", values[0]);
    return 2;
  }
  try {
    return run(how);
  } catch (const fashion_mnist::missing_dataset& error) {
    std::fprintf(stderr, "skipped: %s\n", error.what());
    return 77;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
