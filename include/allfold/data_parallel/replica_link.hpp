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

/// The other ranks as a replica of element type T sees them. One virtual call per gradient, so that
/// data_parallel<Model, Strategy> need not name the communicator's type.
template <class T>
class replica_link {
 public:
  virtual ~replica_link() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void reduce(std::span<T> gradient, scale how, std::source_location where) = 0;
  virtual bool steps() const = 0;
  virtual void share(std::span<T> parameter, std::source_location where) = 0;
  virtual void broadcast(std::span<std::byte> bytes, std::source_location where) = 0;
  virtual std::vector<std::uint64_t> gather(std::uint64_t mine, std::source_location where) = 0;
  virtual void abort(const std::string& why) = 0;
};

template <class T, class Strategy, class World>
class linked_by final : public replica_link<T> {
 public:
  explicit linked_by(World& world) : world_{world} {}

  int rank() const override { return world_.rank(); }
  int size() const override { return world_.size(); }
  void reduce(std::span<T> gradient, scale how, std::source_location where) override {
    if (how == scale::mean_over_ranks)
      Strategy::reduce(world_, gradient, average{}, where);
    else
      Strategy::reduce(world_, gradient, sum{}, where);
  }
  bool steps() const override { return Strategy::steps(world_); }
  void share(std::span<T> parameter, std::source_location where) override {
    Strategy::share(world_, parameter, where);
  }
  void broadcast(std::span<std::byte> bytes, std::source_location where) override {
    allfold::broadcast(world_, bytes, 0, where);
  }
  std::vector<std::uint64_t> gather(std::uint64_t mine, std::source_location where) override {
    std::vector<std::uint64_t> all(static_cast<std::size_t>(world_.size()));
    all_gather(world_, std::span{&mine, 1}, all, where);
    return all;
  }
  void abort(const std::string& why) override { world_.abort(why); }

 private:
  World& world_;
};

}  // namespace detail
}  // namespace allfold
