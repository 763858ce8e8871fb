// Modules that are out of the ordinary: parameters that are not used, shared, frozen, of other
// types and layouts; and what is refused.
#include "modules.hpp"

namespace {

using namespace modules;
using outcomes::ending;
using model_type = torch_model<float>;
using replicated = data_parallel<model_type, distributed<direct, buckets<100, 100>>>;

/// A module with one parameter.
struct single : torch::nn::Module {
  torch::Tensor weight;
  explicit single(torch::Tensor value, bool trained = true) {
    weight = register_parameter("weight", std::move(value), trained);
  }
};
/// Two submodules with the same weights.
struct tied : torch::nn::Module {
  std::shared_ptr<single> in, out;

  tied() {
    in = register_module("in", std::make_shared<single>(waves({4, 4}, 0, 1)));
    out = register_module("out", std::make_shared<single>(in->weight));
  }
  torch::Tensor loss(int rank) {
    return inputs(rank, 0).mm(in->weight).tanh().mm(out->weight.t()).square().mean();
  }
};

/// What is said of a module that can't be a model.
template <class Element = float>
outcomes::outcome made_of(torch::nn::Module& net) {
  return outcomes::attempt([&] { torch_model<Element> model{net}; });
}

/// Trains `net`, whose type is `Element`, by two ranks; true if the mean of the ranks' gradients,
/// as autograd alone gives them, comes of it.
template <class Element, class Net, class Loss>
void check_mean(Net make, Loss loss, double distance = 1e-6) {
  check_returned(run_threads(2, [&](auto& world) {
    const auto net = make();
    torch::Tensor mean;
    for (const int rank : {0, 1}) {
      net->zero_grad(true);
      loss(*net, rank).backward();
      torch::Tensor own = net->parameters()[0].grad();
      if (own.is_sparse()) own = own.to_dense();
      own = own.to(torch::kDouble) / 2;
      mean = mean.defined() ? mean + own : own;
    }
    expect(mean.abs().max().template item<double>() > 0.01, "a gradient of zero");
    torch_model<Element> model{*net};
    data_parallel<torch_model<Element>, distributed<direct>> replica{model, world};
    for (const bool undefined : {true, false}) {
      net->zero_grad(undefined);
      model.backward(replica, loss(*net, world.rank()));
      const torch::Tensor found = net->parameters()[0].grad();
      expect(found.data_ptr() == replica.gradients()[0].data(), "elsewhere");
      expect(found.to(torch::kDouble).allclose(mean, 0, distance), "another mean");
    }
  }));
}

}  // namespace

TEST_CASE("a parameter that is not used is an error that names it") {
  const auto all = run_threads(2, [](auto& world) {
    gated net;
    torch_model model{net};
    replicated replica{model, world};
    model.backward(replica, loss_of(net, world.rank(), 0, /*with_gate=*/false));
  });
  for (const auto& each : all) {
    CHECK(each.how == ending::usage);
    CHECK_MESSAGE(each.says("(gate)"), each.text);
    CHECK_MESSAGE(each.says("never ready"), each.text);
  }
}

TEST_CASE("a parameter that some ranks use, or none: what its gradient is") {
  for (const unused how : {unused::zero, unused::keep})
    for (const bool undefined : {false, true})
      check_returned(run_threads(2, [&](auto& world) {
        gated net;
        torch_model model{net};
        replicated replica{model, world, {.unused = how}};
        model.backward(replica, loss_of(net, world.rank(), 0));
        const torch::Tensor before = net.gate.grad().clone();
        net.zero_grad(undefined);
        model.backward(replica, loss_of(net, world.rank(), 0, world.rank() == 1));
        expect(net.gate.grad().defined(), "one rank has used it");
        expect(net.gate.grad().abs().sum().template item<float>() > 0, "one rank has used it");
        expect(!net.gate.grad().equal(before), "that is the first one");
        net.zero_grad(undefined);
        model.backward(replica, loss_of(net, world.rank(), 0, false));
        const bool left_out = undefined && how == unused::keep;
        expect(net.gate.grad().defined() != left_out, "no rank has used it");
        expect(left_out || net.gate.grad().abs().sum().template item<float>() == 0,
               "no rank has used it");
        net.zero_grad(undefined);
        model.backward(replica, loss_of(net, world.rank(), 0));
        expect(net.gate.grad().equal(before), "the first one again");
      }));
}

TEST_CASE("a parameter that submodules share is one") {
  tied net;
  CHECK(torch_model{net}.parameters().size() == 1);
  CHECK(torch_model{net}.names() == std::vector<std::string>{"in.weight"});
  check_mean<float>([] { return std::make_shared<tied>(); },
                    [](tied& it, int rank) { return it.loss(rank); });
}

TEST_CASE("frozen parameters are sent once, and are not trained") {
  check_returned(run_threads(3, [](auto& world) {
    gated net;
    fill(net, world.rank());
    net.first->weight.requires_grad_(false);
    torch_model model{net};
    expect(model.parameters().size() == 4, "it is trained");
    replicated replica{model, world};
    gated rank_0s;
    fill(rank_0s, 0);
    expect(values_of(net) == values_of(rank_0s), "not rank 0's");
    model.backward(replica, loss_of(net, world.rank(), 0));
    expect(!net.first->weight.grad().defined(), "it has a gradient");
    const auto late = outcomes::attempt([&] {
      net.first->weight.requires_grad_(true);
      model.backward(replica, loss_of(net, world.rank(), 0));
    });
    expect(late.how == ending::usage && late.says("requires a gradient"), late.text.c_str());
  }));
}

TEST_CASE_TEMPLATE("parameters of other types", element, double, at::Half, at::BFloat16) {
  constexpr auto type = c10::CppTypeToScalarType<element>::value;
  check_mean<element>(
      [] {
        return std::make_shared<single>(waves({6, 4}, 0, 1).to(type));
      },
      [](single& it, int rank) {
        return (it.weight.to(torch::kDouble) * inputs(rank, 0)).square().sum();
      },
      sizeof(element) == 2 ? 0.05 : 1e-12);
}

TEST_CASE("gradients whose elements lie in another order than their parameter's") {
  // A transposed one, by autograd, of a parameter in rows.
  check_mean<float>(
      [] {
        return std::make_shared<single>(waves({4, 6}, 0, 1));
      },
      [](single& it, int rank) { return (it.weight.t() * inputs(rank, 0)).square().sum(); });
  // A parameter whose channels lie side by side.
  check_mean<float>(
      [] {
        return std::make_shared<single>(
            waves({4, 3, 2, 2}, 0, 1).contiguous(at::MemoryFormat::ChannelsLast));
      },
      [](single& it, int rank) {
        return torch::conv2d(waves({1, 3, 5, 5}, rank, 0.3), it.weight).square().mean();
      });
}

TEST_CASE("sparse gradients are reduced as dense ones") {
  check_mean<float>(
      [] {
        return std::make_shared<single>(waves({6, 4}, 0, 1));
      },
      [](single& it, int rank) {
        const torch::Tensor chosen = torch::tensor({rank, 3});
        return torch::embedding(it.weight, chosen, -1, false, /*sparse=*/true).square().sum();
      });
}

TEST_CASE("parameters without elements, and modules without parameters") {
  check_returned(run_threads(2, [](auto& world) {
    single empty{torch::zeros({0, 4})};
    torch_model model{empty};
    replicated replica{model, world, {.unused = unused::zero}};
    model.backward(replica, torch::ones({}, torch::requires_grad()));
    torch::nn::Sequential none{torch::nn::Flatten{}};
    torch_model nothing{none};
    replicated other{nothing, world};
    nothing.backward(other, torch::ones({}, torch::requires_grad()));
  }));
}

TEST_CASE("what can't be a model is refused by the name of the parameter") {
  single wide{torch::zeros({3}, torch::kDouble)};
  CHECK(made_of(wide).how == ending::usage);
  CHECK_MESSAGE(made_of(wide).says("parameter weight is Double on cpu"), made_of(wide).text);
  CHECK(made_of<double>(wide).how == ending::returned);
  single gaps{torch::zeros({3, 4}).narrow(1, 0, 2)};
  CHECK_MESSAGE(made_of(gaps).says("parameter weight has gaps"), made_of(gaps).text);
  single elsewhere{torch::zeros({3}, torch::kMeta)};
  CHECK_MESSAGE(made_of(elsewhere).says("parameter weight is Float on meta"),
                made_of(elsewhere).text);
  torch::nn::Module net;
  net.register_buffer("mask", torch::zeros({3, 4}).narrow(1, 0, 2));
  torch_model model{net};
  const auto told = outcomes::attempt([&] { model.buffers(); });
  CHECK(told.how == ending::usage);
  CHECK_MESSAGE(told.says("buffer mask has gaps"), told.text);
}

TEST_CASE("parameters that have moved since, and gradients that are ready twice, are told of") {
  const auto moved = run_threads(2, [](auto& world) {
    gated net;
    torch_model model{net};
    replicated replica{model, world};
    if (world.rank() == 1) net.gate.set_data(torch::zeros({3}));
    model.backward(replica, loss_of(net, world.rank(), 0));
  });
  CHECK(moved[0].how == ending::lost);
  for (const auto& each : moved) CHECK_MESSAGE(each.says("parameter gate has moved"), each.text);
  const auto twice = run_threads(2, [](auto& world) {
    gated net;
    torch_model model{net};
    replicated replica{model, world};
    const auto both = [&] {
      loss_of(net, world.rank(), 0).backward();
      loss_of(net, world.rank(), 0).backward();
    };
    replica.backward([&](auto&& ready) { model.backward(both, ready); });
  });
  for (const auto& each : twice) {
    CHECK(each.how == ending::usage);
    CHECK_MESSAGE(each.says("was ready twice"), each.text);
  }
}

TEST_CASE("ranks whose modules differ are told which parameter does") {
  const auto all = run_threads(2, [](auto& world) {
    torch::nn::Sequential net{torch::nn::Linear{4, 3 + world.rank()}};
    torch_model model{net};
    replicated replica{model, world};
  });
  for (const auto& each : all) {
    CHECK(each.how == ending::mismatch);
    CHECK_MESSAGE(each.says("parameter 0 (0.weight)"), each.text);
  }
  // As many elements.
  const auto turned = run_threads(2, [](auto& world) {
    torch::nn::Sequential net{torch::nn::Linear{
        torch::nn::LinearOptions{3 + world.rank(), 4 - world.rank()}.bias(false)}};
    torch_model model{net};
    replicated replica{model, world};
  });
  for (const auto& each : turned) CHECK(each.how == ending::mismatch);
  CHECK_MESSAGE(turned[0].says("parameter 0 (0.weight), which is [4, 3] by strides of [3, 1] here"),
                turned[0].text);
  CHECK_MESSAGE(turned[1].says("which is [3, 4]"), turned[1].text);
}
