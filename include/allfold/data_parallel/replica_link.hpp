// What a replica asks of the other ranks, with the communicator's type hidden.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/communicator/device_stream.hpp>
#include <allfold/data_parallel/strategy.hpp>
#include <exception>
#include <memory>
#include <optional>

namespace allfold {

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

/// How a backward pass's gradients are combined: by the mean over all ranks or by the sum, after
/// each rank has multiplied its own by `weight`, if there is one. Either all ranks have one or
/// none.
struct combination {
  bool averages = true;
  std::optional<double> weight{};
};

/// True for communicators that say which stream of a device they give their work to, and order
/// streams: by `stream()` and `mark()`.
template <class World>
inline constexpr bool has_streams = requires(World& world) {
  static_cast<void*>(world.stream());
  { world.mark() } -> std::convertible_to<std::unique_ptr<stream_mark>>;
};

/// The other ranks as a compression sees them; see compression.hpp.
template <class Strategy, class World>
class compressed_ranks {
 public:
  compressed_ranks(World& world, bool averages, std::source_location where)
      : world_{world}, averages_{averages}, where_{where} {}
  int rank() const { return world_.rank(); }
  int size() const { return world_.size(); }
  bool averages() const { return averages_; }
  /// The bytes that this rank has brought.
  std::size_t bytes_sent() const { return sent_; }
  template <class U>
  void reduce(std::span<U> data) {
    sent_ += data.size_bytes();
    if (averages_)
      Strategy::reduce(world_, data, average{}, where_);
    else
      Strategy::reduce(world_, data, sum{}, where_);
  }
  template <class U>
  void all_gather(std::span<const U> mine, std::span<U> all) {
    sent_ += mine.size_bytes();
    allfold::all_gather(world_, mine, all, where_);
  }

 private:
  World& world_;
  bool averages_;
  std::source_location where_;
  std::size_t sent_ = 0;
};

/// The other ranks as a replica sees them whose gradients are `Elements`: a span. One virtual call
/// for each stretch of gradients, so that data_parallel<Model, Strategy> need not name the
/// communicator's type.
template <class Elements>
class replica_link {
 public:
  static constexpr memory_space space = range_access<Elements>::space;
  using bytes = span_in<std::byte, space>;

  virtual ~replica_link() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Combines one stretch of gradients; `index` numbers the stretches of the replica. Returns the
  /// bytes that this rank brought to collectives for that.
  virtual std::size_t reduce(Elements gradient, std::size_t index, combination how,
                             std::source_location where) = 0;
  virtual void average(Elements parameter, std::source_location where) = 0;
  virtual bool steps() const = 0;
  virtual void share(Elements parameter, std::source_location where) = 0;
  virtual void broadcast(bytes all, int root, std::source_location where) = 0;
  virtual std::vector<std::uint64_t> gather(std::uint64_t mine, std::source_location where) = 0;
  virtual void abort(const std::string& why) = 0;
  virtual void leave_with(const std::exception_ptr& thrown) = 0;
  /// The same ranks for another thread of this one; null if the communicator has no such thing, or
  /// says by has_companion() that it can't have it here.
  virtual std::unique_ptr<replica_link> companion(std::source_location where) = 0;
  /// True if the host does no more of a collective than to give it to a stream: then a rank's own
  /// thread may do so in the middle of a backward pass, and holds up nothing.
  virtual bool enqueues_at_once() const = 0;
  /// The stream that collectives are given to; null where there are none.
  virtual void* stream() const = 0;
  /// Throws usage_error where there are no streams.
  virtual std::unique_ptr<stream_mark> mark() const = 0;
};

/// `Holder` is World& or World; `Compression` combines gradients, and outlives the link.
template <class Elements, class Strategy, class Holder, class Compression>
class linked_by final : public replica_link<Elements> {
 public:
  using World = std::remove_reference_t<Holder>;
  using base = replica_link<Elements>;
  using typename base::bytes;

  /// `make()` is the Holder. It need not be movable.
  template <class Make>
  linked_by(Make make, Compression& compression) : world_(make()), compression_{compression} {}

  int rank() const override { return world_.rank(); }
  int size() const override { return world_.size(); }
  std::size_t reduce(Elements gradient, std::size_t index, combination how,
                     std::source_location where) override {
    if (how.weight && size() > 1) multiply(world_, gradient, *how.weight);
    if constexpr (std::is_same_v<Compression, uncompressed>) {
      if (size() == 1) return 0;  // the sum and the mean of one are itself
      compression_.count_reduced(gradient.size_bytes());
      if (how.averages)
        Strategy::reduce(world_, gradient, allfold::average{}, where);
      else
        Strategy::reduce(world_, gradient, sum{}, where);
      return gradient.size_bytes();
    } else {
      compressed_ranks<Strategy, World> ranks{world_, how.averages, where};
      compression_.combine(gradient, index, ranks);
      return ranks.bytes_sent();
    }
  }
  void average(Elements parameter, std::source_location where) override {
    if constexpr (requires { typename Strategy::algorithm; })
      all_reduce<typename Strategy::algorithm>(world_, parameter, allfold::average{}, where);
  }
  bool steps() const override { return Strategy::steps(world_); }
  void share(Elements parameter, std::source_location where) override {
    Strategy::share(world_, parameter, where);
  }
  void broadcast(bytes all, int root, std::source_location where) override {
    allfold::broadcast(world_, all, root, where);
  }
  std::vector<std::uint64_t> gather(std::uint64_t mine, std::source_location where) override {
    return gather_numbers(world_, mine, where);
  }
  void abort(const std::string& why) override { world_.abort(why); }
  void leave_with(const std::exception_ptr& thrown) override {
    if constexpr (requires { world_.leave_with(thrown); }) world_.leave_with(thrown);
  }
  std::unique_ptr<base> companion(std::source_location where) override {
    if constexpr (requires { world_.has_companion(); })
      if (!world_.has_companion()) return nullptr;
    // In a device's memory gradients are final only once their stream has come so far.
    constexpr bool is_ordered = base::space == memory_space::host || has_streams<World>;
    if constexpr (is_ordered && requires { world_.companion(where); }) {
      using link = linked_by<Elements, Strategy, World, Compression>;
      return std::make_unique<link>([&] { return world_.companion(where); }, compression_);
    } else {
      return nullptr;
    }
  }
  bool enqueues_at_once() const override {
    if constexpr (requires { world_.enqueues_at_once(); }) return world_.enqueues_at_once();
    return false;
  }
  void* stream() const override {
    if constexpr (has_streams<World>) return world_.stream();
    return nullptr;
  }
  std::unique_ptr<stream_mark> mark() const override {
    if constexpr (has_streams<World>) return world_.mark();
    throw usage_error{"allfold: rank " + std::to_string(rank()) +
                      ": this communicator has no streams for gradients to be ready on"};
  }

 private:
  Holder world_;
  Compression& compression_;
};

}  // namespace detail
}  // namespace allfold
