// Ranks on several nodes of devices: a communicator inside each node, and one across nodes, both in
// a device's memory.
#pragma once

#include <allfold/communicator/device_stream.hpp>
#include <allfold/communicator/engine.hpp>
#include <allfold/communicator/host_communicator.hpp>
#include <allfold/communicator/levels.hpp>
#include <allfold/schedule/hierarchical.hpp>
#include <atomic>
#include <concepts>
#include <memory>
#include <vector>

namespace allfold::nodes {

/// A rank's communicator of two levels in device memory. `Inside` connects the ranks of this node
/// and carries out schedules by the library's own kernels: cuda::communicator or
/// cuda::process_communicator. `Across` connects the ranks that have the same place, or **lane**,
/// on each node: nccl::communicator, or another whose collectives are given to a stream. Both are
/// on this rank's device, and have a stream each.
///
/// Rank = node · lanes() + lane, as in nodes::communicator.
///
/// Used by its rank's thread. Offers all_reduce, broadcast and barrier, by `hierarchical<…>` or
/// `automatic`, and what data_parallel needs besides: include
/// <allfold/collective/device_hierarchical.hpp>. The ranks of all nodes must call the same ones in
/// the same order. A collective is given to the rank's stream, which is `Inside`'s, and is complete
/// when that has come so far: pieces of a message are folded there while those before them are on
/// their way across in `Across`'s. The streams wait for each other by marks; the host waits only
/// where a level's own calls do.
///
/// `average` divides on each level by its ranks: it is the mean over nodes of the nodes' means. A
/// `finish` of a user's operation is applied by each level alike.
///
/// A failure on either level fails both as soon as this rank hears of it, in a call or in
/// `synchronize`. Only the levels' time limits end a wait that was given to the device already.
template <class Inside, class Across>
class device_communicator : public levels<Inside, Across> {
  using base = levels<Inside, Across>;
  using base::inside_, base::across_;
  static_assert(!has_engine<Inside>,
                "allfold: inside a node the library's own schedules work: take "
                "cuda::communicator or cuda::process_communicator");
  static_assert(Inside::space == memory_space::device && Across::space == memory_space::device,
                "allfold: both levels work in device memory; for host memory there is "
                "nodes::communicator");

 public:
  static constexpr memory_space space = memory_space::device;
  template <class Algorithm>
  using algorithm_for = typename allfold::detail::device_algorithm<Algorithm>::type;
  using base::lanes, base::name, base::node, base::nodes, base::number, base::options;

  /// Every rank calls it with its place in both levels. Throws usage_error, on every rank, if not
  /// all nodes have as many ranks, or the ranks of a node are not the same node in all lanes, or an
  /// option is 0; mismatch_error if the options differ.
  device_communicator(Inside inside, Across across, nodes::options how = {},
                      std::source_location where = std::source_location::current())
      : device_communicator{[&] { return std::move(inside); }, [&] { return std::move(across); },
                            how, where} {}
  /// The same for levels that can't be moved: `make_inside()` and `make_across()`, which are called
  /// in this order, return them.
  template <std::invocable MakeInside, std::invocable MakeAcross>
  device_communicator(MakeInside make_inside, MakeAcross make_across, nodes::options how = {},
                      std::source_location where = std::source_location::current())
      : base{std::move(make_inside), std::move(make_across), how} {
    check_nodes(where);
  }
  device_communicator(device_communicator&&) = default;
  device_communicator& operator=(device_communicator&&) = delete;

  /// The stream that collectives are given to.
  auto stream() const { return inside_.stream(); }
  /// Takes a stream of the caller's from now on, behind what the former holds.
  template <device_stream Stream>
  void use_stream(Stream next) {
    inside_.use_stream(next);
  }
  /// A mark for streams of this rank's device.
  std::unique_ptr<stream_mark> mark() const { return inside_.mark(); }
  /// True if that is so on both levels: then the host does no more than to give a collective to
  /// streams.
  bool enqueues_at_once() const { return at_once(inside_) && at_once(across_); }
  /// Waits until all collectives are complete. Throws if one has failed on a level, and fails the
  /// other.
  void synchronize() {
    // First the level that may hold up the rank's stream, and ends that by its own time limit.
    guarded(tier::across, "synchronize", [&] { across_.synchronize(); });
    guarded(tier::inside, "synchronize", [&] { inside_.synchronize(); });
  }

  /// Fails both levels: every other rank gets an error with this text as the levels' `abort` says.
  void abort(const std::string& why) {
    tell_all({host::failure_kind::misuse, name() + " gives up: " + why});
  }
  /// The same because this rank leaves with an exception.
  void leave_with(const std::exception_ptr& thrown) {
    tell_all({std::nullopt, name() + " threw" + host::text_of(thrown)});
  }

  /// The same ranks once more, for a second thread of each or for the same one, with streams of
  /// their own. Every rank calls it.
  device_communicator companion(std::source_location where = std::source_location::current()) {
    return {[&] { return inside_.companion(where); }, [&] { return across_.companion(where); },
            options(), where};
  }

  /// Every rank's number, by rank. Every rank calls it. Waits as the levels' do.
  std::vector<std::uint64_t> gather_numbers(
      std::uint64_t mine, std::source_location where = std::source_location::current()) {
    std::vector<std::uint64_t> all;
    for (const std::uint64_t each : gathered_across(mine, where))  // this lane's, of each node
      for (const std::uint64_t lane : gathered_inside(each, where)) all.push_back(lane);
    return all;
  }
  /// Multiplies elements on this rank's device, in the rank's stream.
  template <class T>
  void multiply(device_span<T> elements, double factor) {
    inside_.multiply(elements, factor);
  }

  // ---- for the collectives; see collective/device_hierarchical.hpp ----

  /// Calls inward(p), across(p) and outward(p) once for every piece p. Each gives work to a stream:
  /// `across` to that of `Across`, where it follows inward(p) and is followed by outward(p); it
  /// goes on while inward(p + 1) does.
  template <class Inward, class Crossing, class Outward>
  void in_streams(int pieces, Inward inward, Crossing crossing, Outward outward) {
    if (!ready_) ready_ = inside_.mark();
    if (!crossed_) crossed_ = inside_.mark();
    const auto fold = [&](int piece) {
      inward(piece);
      ready_->record(stream());
    };
    fold(0);
    for (int piece = 0; piece < pieces; ++piece) {
      ready_->hold_back(across_.stream());
      crossing(piece);
      crossed_->record(across_.stream());
      if (piece + 1 < pieces) fold(piece + 1);
      crossed_->hold_back(stream());
      outward(piece);
    }
  }
  /// To be called where an exception of a level was caught, in the call `said`. Fails both levels
  /// and throws the same, with the names of this rank and of the level; what is no error of the
  /// library's as it is.
  [[noreturn]] void fail_from(tier which, const call& said) {
    fail_from(which, describe(said, number()));
  }
  /// Fails both levels with what this rank has found, unless it has failed them already.
  void tell_all(const failure& found) {
    if (told_->exchange(true)) return;
    const auto tell = [&](auto& level) {
      try {
        // Of the levels' two ways only one makes it an error of a rank that is lost.
        if (found.kind && found.kind != host::failure_kind::lost)
          fail(level, found);
        else
          level.leave_with(std::make_exception_ptr(std::runtime_error{found.text}));
      } catch (const error&) {
        // It can't be told any more; what was found first is what counts.
      }
    };
    tell(inside_);
    tell(across_);
  }
  /// Devices show nobody where they are.
  void show(tier, presence&) {}

 private:
  template <class Level>
  static bool at_once(const Level& level) {
    if constexpr (requires { level.enqueues_at_once(); })
      return level.enqueues_at_once();
    else
      return false;
  }

  [[noreturn]] void fail_from(tier which, const std::string& what) {
    const failure found = base::caught_from(which);
    tell_all(found);
    base::rethrow(found, what);
  }
  template <class Work>
  auto guarded(tier which, const std::string& what, Work work) {
    try {
      return work();
    } catch (...) {
      fail_from(which, what);
    }
  }
  std::vector<std::uint64_t> gathered_across(std::uint64_t mine, std::source_location where) {
    return guarded(tier::across, "gather_numbers at " + place_of(where),
                   [&] { return across_.gather_numbers(mine, where); });
  }
  std::vector<std::uint64_t> gathered_inside(std::uint64_t mine, std::source_location where) {
    return guarded(tier::inside, "gather_numbers at " + place_of(where),
                   [&] { return inside_.gather_numbers(mine, where); });
  }

  void check_nodes(std::source_location where) {
    if (options().piece_bytes == 0) give_up<usage_error>("a piece can't have 0 bytes", where);
    const place here = base::own_place();
    const auto lanes_here = static_cast<std::uint64_t>(here.lanes);
    const std::vector<std::uint64_t> lanes_of = gathered_across(lanes_here, where);
    for (std::size_t i = 0; i < lanes_of.size(); ++i)
      if (lanes_of[i] != lanes_here)
        give_up<usage_error>(here.unlike_node({static_cast<int>(i), here.nodes, here.lane,
                                               static_cast<int>(lanes_of[i])}),
                             where);
    const std::uint64_t node_here = node_in_words(here.node, here.nodes);
    const std::vector<std::uint64_t> node_of = gathered_inside(node_here, where);
    for (std::size_t i = 0; i < node_of.size(); ++i)
      if (node_of[i] != node_here)
        give_up<usage_error>(here.unlike_lane({static_cast<int>(node_of[i] >> 32),
                                               static_cast<int>(node_of[i] & 0xffffffffu),
                                               static_cast<int>(i), here.lanes}),
                             where);
    check_option(options().one_lane_bytes, "options::one_lane_bytes", where);
    check_option(options().piece_bytes, "options::piece_bytes", where);
  }
  static std::uint64_t node_in_words(int node, int of) {
    return static_cast<std::uint64_t>(node) << 32 | static_cast<std::uint64_t>(of);
  }
  void check_option(std::uint64_t own, const char* option, std::source_location where) {
    const std::vector<std::uint64_t> all = gather_numbers(own, where);
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i] != own)
        give_up<mismatch_error>(option + std::string{" is "} + std::to_string(own) + ", and " +
                                    std::to_string(all[i]) + " on rank " + std::to_string(i),
                                where);
  }
  /// Throws, and fails both levels.
  template <class Error>
  [[noreturn]] void give_up(const std::string& why, std::source_location where) {
    const std::string text =
        "nodes::device_communicator at " + place_of(where) + ": " + name() + ": " + why;
    tell_all(failure_of(std::make_exception_ptr(Error{text})));
    throw Error{"allfold: " + text};
  }

  std::unique_ptr<std::atomic<bool>> told_ = std::make_unique<std::atomic<bool>>(false);
  std::unique_ptr<stream_mark> ready_;    ///< a piece is folded inside
  std::unique_ptr<stream_mark> crossed_;  ///< a piece has come from across
};

}  // namespace allfold::nodes
