// Which rank a process is, told by the variables that its launcher has set.
#pragma once

#include <allfold/error.hpp>
#include <allfold/hash.hpp>
#include <allfold/launch/packing.hpp>
#include <allfold/launch/slurm_lists.hpp>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <source_location>
#include <string>
#include <utility>

namespace allfold {

/// What a launcher says to one of its processes.
struct launch_environment {
  int rank = 0;
  int size = 1;
  /// The rank among those of this machine, and their number; 0 of 1 if the launcher has not said.
  int local_rank = 0;
  int local_size = 1;
  /// "allfold-run", "torchrun", "Open MPI", "MPICH", "Slurm", "Kubernetes", "RANK and WORLD_SIZE"
  /// where these were set by something else, or "none" for a rank that is alone.
  std::string launcher;
  /// Where rank 0 listens, for tcp_rendezvous. Both are known, or neither: then empty and 0.
  std::string address;
  int port = 0;
  /// A folder that all ranks see, for file_rendezvous; empty if there is none.
  std::string rendezvous;
  /// What the ranks of one start have in common and others do not; empty if the launcher has not
  /// said. Not for printing: it keeps strangers out.
  std::string job;
};

/// What counts if the environment says nothing.
struct environment_options {
  /// A process that no launcher has started is rank 0 of 1, instead of an error.
  bool or_alone = false;
};

/// The value of a variable, or null: std::getenv, or a stand-in of it.
using environment_lookup = std::function<const char*(const char* name)>;

namespace detail {

/// A port that all ranks of a job compute alike: below those that Linux gives to connections.
inline int port_from(const std::string& text) {
  const std::uint64_t hash = hash_of(text);
  return static_cast<int>(16384 + (hash ^ hash >> 32) % 16384);
}

/// Reads one process's variables. An empty variable is one that is not set.
class environment_reader {
 public:
  environment_reader(environment_lookup lookup, std::source_location where)
      : lookup_{std::move(lookup)}, where_{where} {}

  launch_environment read(environment_options options) {
    if (has("RANK"))
      read_explicit();
    else if (has("OMPI_COMM_WORLD_RANK"))
      read_open_mpi();
    else if (has("PMI_RANK") && (has("MPI_LOCALRANKID") || !in_slurm_step()))
      read_pmi();
    else if (in_slurm_step())
      read_slurm();
    else if (has("JOB_COMPLETION_INDEX"))
      read_kubernetes();
    else if (has("WORLD_SIZE"))
      refuse(shown("WORLD_SIZE") + ", but RANK is not set");
    else if (options.or_alone)
      return alone();
    else
      refuse_nothing();
    read_meeting();
    return found_;
  }

 private:
  std::string text(const char* name) const {
    const char* const value = lookup_(name);
    return value == nullptr ? "" : value;
  }
  bool has(const char* name) const { return !text(name).empty(); }
  /// `RANK is "7"`.
  std::string shown(const char* name) const {
    return std::string{name} + " is \"" + text(name) + '"';
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw usage_error{"allfold: from_environment at " + place_of(where_) + ": " + what};
  }
  int number(const char* name, int least, int most = 1 << 30) const {
    const auto value = whole_number<int>(text(name));
    if (!value || *value < least || *value > most)
      refuse(shown(name) + ", which is not a whole number from " + std::to_string(least) + " to " +
             std::to_string(most));
    return *value;
  }

  /// A rank and the number of ranks it is one of; both are set, or it is an error.
  void read_pair(const char* rank_name, const char* size_name, int& rank, int& size) const {
    for (const auto& [one, other] : {std::pair{rank_name, size_name}, {size_name, rank_name}})
      if (has(one) && !has(other)) refuse(shown(one) + ", but " + other + " is not set");
    if (!has(rank_name)) refuse(std::string{rank_name} + " and " + size_name + " are not set");
    rank = number(rank_name, 0);
    size = number(size_name, 1);
    if (rank >= size)
      refuse(shown(rank_name) + ", but " + shown(size_name) + ": ranks are 0 to " +
             std::to_string(size - 1));
  }
  void read_world(const char* launcher, const char* rank_name, const char* size_name) {
    found_.launcher = launcher;
    read_pair(rank_name, size_name, found_.rank, found_.size);
    if (has("WORLD_SIZE") && number("WORLD_SIZE", 1) != found_.size)
      refuse(shown("WORLD_SIZE") + ", but " + shown(size_name));
  }
  void read_local(const char* rank_name, const char* size_name) {
    read_pair(rank_name, size_name, found_.local_rank, found_.local_size);
    if (found_.local_size > found_.size)
      refuse(shown(size_name) + ", but there are " + std::to_string(found_.size) + " ranks in all");
  }

  void read_explicit() {
    const bool by_torch = has("TORCHELASTIC_RUN_ID");
    read_world(by_torch                  ? "torchrun"
               : has("ALLFOLD_LAUNCHER") ? "allfold-run"
                                         : "RANK and WORLD_SIZE",
               "RANK", "WORLD_SIZE");
    if (has("LOCAL_RANK") || has("LOCAL_WORLD_SIZE")) read_local("LOCAL_RANK", "LOCAL_WORLD_SIZE");
    // The same identifier for all restarts, and "none" for all who have given none.
    if (by_torch)
      found_.job = text("TORCHELASTIC_RUN_ID") + '.' + text("TORCHELASTIC_RESTART_COUNT");
  }
  void read_open_mpi() {
    read_world("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
    read_local("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE");
    found_.job = text("PMIX_NAMESPACE");
  }
  /// MPICH's Hydra, and Intel's, which is made from it.
  void read_pmi() {
    read_world("MPICH", "PMI_RANK", "PMI_SIZE");
    read_local("MPI_LOCALRANKID", "MPI_LOCALNRANKS");
  }
  void read_kubernetes() { read_world("Kubernetes", "JOB_COMPLETION_INDEX", "WORLD_SIZE"); }

  /// False in a batch script and in the shell of an allocation, which Slurm counts as steps too, by
  /// numbers from the end: they are one process, whatever the number of tasks.
  bool in_slurm_step() const {
    const auto step = whole_number<std::uint32_t>(text("SLURM_STEP_ID"));
    return has("SLURM_PROCID") && step && *step < 0xfffffff0;
  }
  void read_slurm() {
    const auto either = [&](const char* one, const char* other) { return has(one) ? one : other; };
    read_world("Slurm", "SLURM_PROCID", either("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"));
    const char* const list = either("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE");
    const auto tasks = tasks_of_node(text(list), number("SLURM_NODEID", 0));
    if (!tasks)
      refuse(shown(list) + ", which does not say how many tasks node " + text("SLURM_NODEID") +
             " (SLURM_NODEID) has, as \"2(x3),1\" does");
    found_.local_rank = number("SLURM_LOCALID", 0);
    found_.local_size = *tasks;
    if (found_.local_rank >= *tasks)
      refuse(shown("SLURM_LOCALID") + ", but its node has " + std::to_string(*tasks) +
             " tasks: " + shown(list));
    found_.job =
        text("SLURM_JOB_ID") + '.' + text("SLURM_STEP_ID") + '.' + text("SLURM_RESTART_COUNT");
    found_.address = text("SLURM_LAUNCH_NODE_IPADDR");
    if (!has("SLURM_STEP_NODELIST")) return;
    const auto host = first_host(text("SLURM_STEP_NODELIST"));  // rank 0's
    if (!host) refuse(shown("SLURM_STEP_NODELIST") + ", which is not a list of nodes");
    found_.address = *host;
  }

  /// How the ranks find each other.
  void read_meeting() {
    found_.rendezvous = text("ALLFOLD_RENDEZVOUS");
    if (has("ALLFOLD_JOB")) found_.job = text("ALLFOLD_JOB");
    if (has("MASTER_ADDR"))
      found_.address = text("MASTER_ADDR");
    else if (found_.local_size == found_.size)
      found_.address = "127.0.0.1";
    if (has("MASTER_PORT")) found_.port = number("MASTER_PORT", 1, 65535);
    // torchrun's agent may listen at MASTER_PORT itself.
    const bool taken =
        found_.launcher == "torchrun" && text("TORCHELASTIC_USE_AGENT_STORE") == "True";
    if (!found_.address.empty() && !found_.job.empty() && (found_.port == 0 || taken))
      found_.port = port_from(found_.job + ' ' + found_.address + ' ' + text("MASTER_PORT"));
    if (found_.address.empty() == (found_.port == 0)) return;
    if (has("MASTER_ADDR")) refuse(shown("MASTER_ADDR") + ", but MASTER_PORT is not set");
    if (has("MASTER_PORT")) refuse(shown("MASTER_PORT") + ", but MASTER_ADDR is not set");
    found_.address.clear();
  }

  static launch_environment alone() {
    launch_environment found;
    found.launcher = "none";
    return found;
  }
  [[noreturn]] void refuse_nothing() const {
    refuse(
        "no launcher has started this process: neither RANK (allfold-run, torchrun) nor "
        "OMPI_COMM_WORLD_RANK (Open MPI), PMI_RANK (MPICH, Intel MPI), SLURM_PROCID in a step "
        "(srun) or JOB_COMPLETION_INDEX (Kubernetes) is set" +
        std::string{has("SLURM_JOB_ID") ? "; it runs in a job of Slurm, but not by srun" : ""} +
        "; for a rank that is alone: from_environment({.or_alone = true})");
  }

  environment_lookup lookup_;
  std::source_location where_;
  launch_environment found_;
};

}  // namespace detail

/// What the launcher of this process has told it; docs/launching.md lists the variables. If several
/// have, the first of these counts: RANK and WORLD_SIZE (allfold-run, torchrun, or set by hand),
/// Open MPI, MPICH and Intel MPI, a step of Slurm, an indexed job of Kubernetes. Communicates with
/// nobody. Throws usage_error that names the variable and its value if one is wrong or is missing,
/// and if there is no launcher.
inline launch_environment from_environment(
    environment_options options = {},
    std::source_location where = std::source_location::current()) {
  const auto lookup = [](const char* name) -> const char* { return std::getenv(name); };
  return detail::environment_reader{lookup, where}.read(options);
}

/// The same from variables that are looked up elsewhere.
inline launch_environment read_environment(
    environment_lookup lookup, environment_options options = {},
    std::source_location where = std::source_location::current()) {
  return detail::environment_reader{std::move(lookup), where}.read(options);
}

}  // namespace allfold
