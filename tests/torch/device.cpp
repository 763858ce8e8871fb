// Modules in a device's memory: which streams their gradients come from, and what waits for what.
// The device writes down what it is given, and LibTorch's tensors, which nobody reduces, lie in
// host memory.
#include "data_parallel/recorded_device.hpp"
#include "modules.hpp"

#include <set>

namespace {

using namespace modules;
using outcomes::ending;
using recorded::meeting;

/// What LibTorch would say of the device: its current stream on this thread.
struct recorded_memory {
  static constexpr memory_space space = memory_space::device;
  static inline thread_local recorded::queue* current = nullptr;
  static inline thread_local std::set<const recorded::queue*> kept_for;

  template <class World>
  static c10::Device device_of(const World&) {
    return c10::kCPU;
  }
  static recorded::queue* current_stream(c10::Device) { return current; }
  static void keep_for(const torch::Tensor&, c10::Device) { kept_for.insert(current); }
};
/// One device for each rank, by number.
struct numbered_memory : recorded_memory {
  template <class World>
  static c10::Device device_of(const World& world) {
    return {c10::kCUDA, static_cast<c10::DeviceIndex>(world.rank())};
  }
};
using model_type = torch_model<float, recorded_memory>;
using strategy = distributed<native, buckets<100, 100>>;

/// A rank's module and its replica. Work of LibTorch's that touches gradients or parameters is
/// given to the device too, in LibTorch's current stream.
template <class World>
class training {
 public:
  training(World& world, overlap how)
      : ranks_{world}, model_{net_, world}, replica_{model_, world, {.overlap = how}} {
    const std::vector<torch::Tensor> parameters = net_.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].register_hook([this, i](const torch::Tensor&) {
        recorded_memory::current = from_.at(i % from_.size());
        give("gradient " + std::to_string(i), replica_.gradients()[i], true);
      });
  }

  /// Autograd gives gradients to LibTorch's stream and to two others in turns. All wait for the
  /// former first, and it waits for all of them in the end.
  void backward(int step) {
    recorded::queue* const own = recorded_memory::current;
    for (const auto each : model_.parameters()) give("forward", each, false);
    const torch::Tensor loss = loss_of(net_, ranks_.rank(), step);
    from_ = {own, beside_[0], beside_[1]};
    replica_.backward([&](auto&& ready) {
      const auto engine = [&] {
        for (recorded::queue* const each : beside_) order(own, each);
        loss.backward();
        for (recorded::queue* const each : beside_) order(each, own);
        recorded_memory::current = own;
      };
      model_.backward(engine, ready);
    });
  }
  void step() {
    replica_.step([&] {
      for (const auto each : replica_.gradients()) give("use", each, false);
      for (const auto each : model_.parameters()) give("step", each, true);
    });
    net_.zero_grad(false);
    for (const auto each : replica_.gradients()) give("clear", each, true);
  }
  /// LibTorch's current stream is another one from now on, which waits for the former.
  void switch_to(recorded::queue* next) {
    order(recorded_memory::current, next);
    recorded_memory::current = next;
  }
  gated& net() { return net_; }
  auto& replica() { return replica_; }

 private:
  void give(const std::string& what, auto elements, bool writes) {
    ranks_.on().give(recorded_memory::current, what, elements.data(), elements.size_bytes(),
                     writes);
  }
  void order(recorded::queue* first, recorded::queue* then) {
    recorded::event here{ranks_.on()};
    here.record(first);
    here.hold_back(then);
  }

  World& ranks_;
  gated net_;
  model_type model_;
  data_parallel<model_type, strategy> replica_;
  std::vector<recorded::queue*> beside_{ranks_.on().make_stream(), ranks_.on().make_stream()};
  std::vector<recorded::queue*> from_;
};

/// Runs `body(world)` on ranks that have a device each, where LibTorch has a stream of its own.
template <meeting How, class Body>
std::vector<outcomes::outcome> run_on_devices(int ranks, Body body) {
  return run_threads(ranks, [&](threads::communicator& control) {
    recorded::world<How> world{std::move(control), std::make_shared<recorded::device>()};
    recorded_memory::current = world.on().make_stream();
    recorded_memory::kept_for.clear();
    body(world);
  });
}

template <meeting How>
void check_order() {
  for (const int ranks : {1, 2, 3})
    for (const overlap how : {overlap::none, overlap::by_thread}) {
      CAPTURE(ranks);
      CAPTURE(static_cast<int>(how));
      check_returned(run_on_devices<How>(ranks, [&](auto& world) {
        training it{world, how};
        expect(world.stream() == recorded_memory::current, "collectives in another stream");
        for (int step = 0; step < 4; ++step) {
          if (step == 2) it.switch_to(world.on().make_stream());
          it.backward(step);
          expect(world.stream() == recorded_memory::current, "it has not followed");
          it.step();
        }
        for (const std::string& fault : world.on().faults()) throw std::logic_error{fault};
        std::set<std::size_t> streams;
        const auto gradients = world.on().named("gradient");
        for (const auto& each : gradients) streams.insert(each.stream);
        expect(gradients.size() == 4 * 5 && streams.size() == 4, "gradients in few streams");
        expect(world.on().named("all_reduce").size() ==
                   (ranks == 1 ? 0 : 4 * it.replica().collectives_per_step()),
               "another number of reductions");
        expect(it.replica().overlaps() == (ranks > 1 && how == overlap::by_thread), "overlap");
        expect(recorded_memory::kept_for.size() == 2, "kept for another number of streams");
      }));
    }
}

/// A module with one parameter.
struct single : torch::nn::Module {
  explicit single(torch::Tensor value) { register_parameter("weight", std::move(value)); }
};

/// Ranks whose communicator has device memory that other ranks reach.
struct with_memory : recorded::world<meeting::at_once> {
  using recorded::world<meeting::at_once>::world;
  std::shared_ptr<std::vector<float>> all = std::make_shared<std::vector<float>>(100, 5.0f);

  template <class T>
  device_span<T> allocate(std::size_t count) {
    return {all->data(), count};
  }
  std::shared_ptr<void> memory() const { return all; }
};

}  // namespace

TEST_CASE("gradients are ready in the stream that autograd has given them to") {
  check_order<meeting::threads_meet>();
  check_order<meeting::at_once>();
}

TEST_CASE("gradients lie side by side in the device's memory, and are the module's") {
  check_returned(run_on_devices<meeting::at_once>(2, [](auto& world) {
    training it{world, overlap::by_thread};
    const auto parameters = it.net().parameters();
    const auto check = [&] {
      gated other;
      loss_of(other, world.rank(), 0).backward();
      const auto places = it.replica().gradients();
      for (std::size_t i = 0; i < places.size(); ++i) {
        expect(parameters[i].grad().data_ptr() == places[i].data(), "elsewhere");
        expect(parameters[i].grad().equal(other.parameters()[i].grad()), "another gradient");
        expect(i == 0 || places[i - 1].data() + places[i - 1].size() == places[i].data(), "gaps");
      }
      expect(places.size() == 5, "another number of gradients");
    };
    expect(it.replica().collectives_per_step() == it.replica().buckets().size(), "single ones");
    for (const bool undefined : {true, false, true}) {
      it.net().zero_grad(undefined);
      it.backward(0);
      check();
    }
  }));
}

TEST_CASE("gradients lie where other ranks reach them, and keep that memory") {
  check_returned(run_threads(1, [](threads::communicator& control) {
    gated net;
    std::weak_ptr<std::vector<float>> memory;
    {
      with_memory world{std::move(control), std::make_shared<recorded::device>()};
      recorded_memory::current = world.on().make_stream();
      memory = world.all;
      model_type model{net, world};
      recorded::world<meeting::at_once>& ranks = world;
      data_parallel<model_type, strategy> replica{model, ranks};
      expect(model.gradients()[0].data() == world.all->data(), "elsewhere");
      for (const auto each : model.gradients())
        expect(std::count(each.data(), each.data() + each.size(), 0.0f) ==
                   static_cast<std::ptrdiff_t>(each.size()),
               "they do not begin with zero");
      replica.backward([&](auto&& ready) { model.backward(loss_of(net, 0, 0), ready); });
      gated other;
      loss_of(other, 0, 0).backward();
      expect(net.gate.grad().equal(other.gate.grad()), "another gradient");
    }
    expect(!memory.expired(), "the gradients' memory is gone");
    for (torch::Tensor& each : net.parameters()) each.mutable_grad().reset();
    expect(memory.expired(), "someone keeps it");
  }));
}

TEST_CASE("tensors on another device than the rank's are refused, by name and device") {
  const auto all = run_on_devices<meeting::at_once>(2, [](auto& world) {
    single net{torch::zeros({3}, world.rank() == 1 ? torch::kMeta : torch::kCPU)};
    model_type model{net, world};
    data_parallel<model_type, strategy> replica{model, world};
  });
  CHECK(all[0].how == ending::lost);
  CHECK(all[1].how == ending::usage);
  CHECK_MESSAGE(all[1].says("parameter weight is Float on meta, and this torch_model takes tensors "
                            "on cpu"),
                all[1].text);
  CHECK_MESSAGE(all[1].says("rank 1, torch_model at"), all[1].text);

  const auto numbered = run_on_devices<meeting::at_once>(2, [](auto& world) {
    single net{torch::zeros({3})};
    torch_model<float, numbered_memory> model{net, world};
  });
  CHECK_MESSAGE(numbered[0].says("Float on cpu, and this torch_model takes tensors on cuda:0"),
                numbered[0].text);
  CHECK_MESSAGE(numbered[1].says("tensors on cuda:1"), numbered[1].text);

  const auto buffers = run_on_devices<meeting::at_once>(1, [](auto& world) {
    torch::nn::Module net;
    net.register_buffer("mask", torch::zeros({3}, torch::kMeta));
    model_type model{net, world};
    data_parallel<model_type, strategy> replica{model, world};
  });
  CHECK(buffers[0].how == ending::usage);
  CHECK_MESSAGE(buffers[0].says("rank 0, torch_model at"), buffers[0].text);
  CHECK_MESSAGE(buffers[0].says("buffer mask is Float on meta"), buffers[0].text);

  using allfold::detail::is_on;
  CHECK(is_on({c10::kCUDA, 1}, {c10::kCUDA, 1}));
  CHECK_FALSE(is_on({c10::kCUDA, 0}, {c10::kCUDA, 1}));
  CHECK_FALSE(is_on(c10::kCPU, {c10::kCUDA, 0}));
  CHECK(is_on(c10::kCPU, c10::kCPU));
}
