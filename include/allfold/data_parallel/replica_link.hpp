// What a replica asks of the other ranks, with the communicator's type hidden.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/data_parallel/strategy.hpp>
#include <memory>

namespace allfold {

/// How gradients of several ranks are combined.
enum class scale : std::uint8_t {
  mean_over_ranks,    ///< the sum divided by the number of ranks; PyTorch's
  mean_over_samples,  ///< weighted by the samples that each rank gave to `backward`
  sum                 ///< the bare sum
};

namespace detail {

/// Every rank's number, by rank.
template <class World>
std::vector<std::uint64_t> gather_numbers(World& world, std::uint64_t mine,
                                          std::source_location where) {
  if constexpr (World::space == memory_space::host) {
    std::vector<std::uint64_t> all(static_cast<std::size_t>(world.size()));
    all_gather(world, std::span{&mine, 1}, all, where);
    return all;
  } else {
    return world.gather_numbers(mine, where);
  }
}

/// Multiplies elements by a factor where they lie.
template <class World, class Elements>
void multiply(World& world, Elements elements, double factor) {
  if constexpr (World::space == memory_space::host) {
    using element = element_of<Elements>;
    using wide = accumulator<element>;
    for (element& each : elements)
      each = static_cast<element>(static_cast<wide>(each) * static_cast<wide>(factor));
  } else {
    world.multiply(elements, factor);
  }
}

/// The other ranks as a replica sees them whose gradients are `Elements`: a span. One virtual call
/// per gradient, so that data_parallel<Model, Strategy> need not name the communicator's type.
template <class Elements>
class replica_link {
 public:
  static constexpr memory_space space = range_access<Elements>::space;
  using bytes = span_in<std::byte, space>;

  virtual ~replica_link() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void reduce(Elements gradient, scale how, std::source_location where) = 0;
  virtual void multiply(Elements gradient, double factor) = 0;
  virtual bool steps() const = 0;
  virtual void share(Elements parameter, std::source_location where) = 0;
  virtual void broadcast(bytes all, std::source_location where) = 0;
  virtual std::vector<std::uint64_t> gather(std::uint64_t mine, std::source_location where) = 0;
  virtual void abort(const std::string& why) = 0;
};

template <class Elements, class Strategy, class World>
class linked_by final : public replica_link<Elements> {
 public:
  using typename replica_link<Elements>::bytes;

  explicit linked_by(World& world) : world_{world} {}

  int rank() const override { return world_.rank(); }
  int size() const override { return world_.size(); }
  void reduce(Elements gradient, scale how, std::source_location where) override {
    if (how == scale::mean_over_ranks)
      Strategy::reduce(world_, gradient, average{}, where);
    else
      Strategy::reduce(world_, gradient, sum{}, where);
  }
  void multiply(Elements gradient, double factor) override {
    detail::multiply(world_, gradient, factor);
  }
  bool steps() const override { return Strategy::steps(world_); }
  void share(Elements parameter, std::source_location where) override {
    Strategy::share(world_, parameter, where);
  }
  void broadcast(bytes all, std::source_location where) override {
    allfold::broadcast(world_, all, 0, where);
  }
  std::vector<std::uint64_t> gather(std::uint64_t mine, std::source_location where) override {
    return gather_numbers(world_, mine, where);
  }
  void abort(const std::string& why) override { world_.abort(why); }

 private:
  World& world_;
};

}  // namespace detail
}  // namespace allfold
