// Lets ranks that are processes find each other over TCP. Needs Asio without Boost: libasio-dev.
#pragma once

#include <unistd.h>

#include <allfold/communicator/exchange_bytes.hpp>
#include <allfold/launch/environment.hpp>
#include <allfold/launch/tcp_hub.hpp>
#include <allfold/launch/tcp_spoke.hpp>
#include <exception>

namespace allfold {

/// Ranks that exchange bytes over TCP, through rank 0. Used by one thread of each rank.
///
/// Rank 0 listens until all have come, on the loopback device only if the address is of that. The
/// job is what keeps strangers out; it is sent as it is, so this is for networks that are trusted.
///
/// After an error every further exchange throws the same.
class tcp_rendezvous {
 public:
  /// Every rank makes one: `address` and `port` are where the others reach rank 0. The address is a
  /// name or a number, of IPv4 or IPv6. Returns when all have come; ranks may come in any order.
  /// Throws, within the time limit and a second, usage_error for a rank that can't be or is taken
  /// already, or if something else listens there; mismatch_error if ranks are of different jobs,
  /// numbers of ranks or versions; timeout_error that names the ranks that have not come;
  /// rank_lost_error for one that has come and gone; process_error if rank 0 can't have the port.
  tcp_rendezvous(std::string address, int port, int rank, int size, rendezvous_options options = {})
      : rank_{rank}, size_{size} {
    detail::require_rank(rank, size);
    const std::string who = "allfold: rank " + std::to_string(rank) + ": ";
    if (address.empty() || port < 1 || port > 65535)
      throw usage_error{who + "ranks can't meet at \"" + address + "\", port " +
                        std::to_string(port)};
    if (options.job.size() > detail::tcp_hello::longest_job)
      throw usage_error{who + "a job of " + std::to_string(options.job.size()) +
                        " characters is too long: " +
                        std::to_string(detail::tcp_hello::longest_job) + " at most"};
    if (size == 1) return;
    connection_ = std::make_unique<connection>();
    const detail::tcp_world world{connection_->io, std::move(address), port, rank, size,
                                  options.timeout, options.job};
    if (rank == 0)
      connection_->part = std::make_unique<detail::tcp_hub>(world);
    else
      connection_->part = std::make_unique<detail::tcp_spoke>(world);
  }
  tcp_rendezvous(const tcp_rendezvous&) = delete;
  tcp_rendezvous& operator=(const tcp_rendezvous&) = delete;
  ~tcp_rendezvous() {
    // What a fork has copied shares its descriptors with the original, and must not touch them.
    if (process_ != getpid()) static_cast<void>(connection_.release());
  }

  /// For `connect`: where the launcher says that rank 0 listens; null if it has not said.
  static std::shared_ptr<tcp_rendezvous> by(const launch_environment& told,
                                            const rendezvous_options& options) {
    if (told.address.empty()) return nullptr;
    return std::make_shared<tcp_rendezvous>(told.address, told.port, told.rank, told.size, options);
  }
  static constexpr const char* needs =
      "MASTER_ADDR and MASTER_PORT to where the others reach rank 0";

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// See exchange_bytes. Throws, within the time limit and a second, mismatch_error if the ranks
  /// bring different numbers of bytes, timeout_error that names the ranks that have not come,
  /// rank_lost_error for one that has gone.
  void exchange(const void* mine, std::size_t size, void* all) {
    if (failed_) std::rethrow_exception(failed_);
    if (size_ == 1) {
      if (size != 0) std::memmove(all, mine, size);
      return;
    }
    try {
      connection_->part->exchange(number_++, mine, size, all);
    } catch (...) {
      failed_ = std::current_exception();
      throw;
    }
  }

 private:
  struct connection {
    asio::io_context io{1};
    std::unique_ptr<detail::tcp_part> part;
  };

  int rank_;
  int size_;
  pid_t process_ = getpid();
  std::unique_ptr<connection> connection_;
  std::uint64_t number_ = 0;
  std::exception_ptr failed_;
};

}  // namespace allfold
