// The smallest training of a module of LibTorch's: two ranks, one step.
#include <torch/nn/modules/linear.h>

#include <allfold/adapt/torch.hpp>
#include <allfold/allfold.hpp>

int main() {
  allfold::spawn(2, [](auto& world) {
    torch::set_num_threads(1);
    torch::nn::Linear net{2, 1};
    allfold::torch_model model{net};
    allfold::data_parallel<allfold::torch_model<>, allfold::distributed<>> replica{model, world};
    const auto mine = static_cast<float>(world.rank());
    model.backward(replica, net->forward(torch::full({1, 2}, mine)).sum());
    if (net->weight.grad().equal(torch::full({1, 2}, 0.5f))) return;
    throw std::runtime_error{"another gradient than the mean of both ranks'"};
  });
}
