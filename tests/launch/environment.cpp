#include "communicator/outcome.hpp"

#include <doctest/doctest.h>
#include <allfold/launch/environment.hpp>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using variables = std::map<std::string, std::string>;

allfold::launch_environment read(const variables& set, bool or_alone = false) {
  return allfold::read_environment(
      [&](const char* name) {
        const auto found = set.find(name);
        return found == set.end() ? nullptr : found->second.c_str();
      },
      {.or_alone = or_alone});
}

std::string refusal(const variables& set, bool or_alone = false) {
  const outcome ended = attempt([&] { read(set, or_alone); });
  CHECK(ended.how == ending::usage);
  CHECK(ended.says("from_environment at environment.cpp:"));
  return ended.text;
}

variables with(variables set, const variables& more) {
  for (const auto& [name, value] : more) {
    set[name] = value;
    if (value == "-") set.erase(name);
  }
  return set;
}

bool says(const std::string& text, const std::string& part) {
  CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  return text.find(part) != std::string::npos;
}

const variables by_allfold_run{{"RANK", "5"},
                               {"WORLD_SIZE", "8"},
                               {"LOCAL_RANK", "1"},
                               {"LOCAL_WORLD_SIZE", "4"},
                               {"MASTER_ADDR", "node7"},
                               {"MASTER_PORT", "29500"},
                               {"ALLFOLD_LAUNCHER", "allfold-run"},
                               {"ALLFOLD_JOB", "secret"},
                               {"ALLFOLD_RENDEZVOUS", "/shared/meet"}};
const variables by_torchrun{{"RANK", "5"},
                            {"WORLD_SIZE", "8"},
                            {"LOCAL_RANK", "1"},
                            {"LOCAL_WORLD_SIZE", "4"},
                            {"MASTER_ADDR", "node7"},
                            {"MASTER_PORT", "29500"},
                            {"TORCHELASTIC_RUN_ID", "none"},
                            {"TORCHELASTIC_RESTART_COUNT", "2"},
                            {"TORCHELASTIC_USE_AGENT_STORE", "False"}};
const variables by_open_mpi{{"OMPI_COMM_WORLD_RANK", "3"},
                            {"OMPI_COMM_WORLD_SIZE", "4"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                            {"PMIX_NAMESPACE", "3461021697"}};
const variables by_mpich{
    {"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
const variables by_srun{{"SLURM_PROCID", "6"},
                        {"SLURM_NTASKS", "9"},
                        {"SLURM_STEP_NUM_TASKS", "7"},
                        {"SLURM_LOCALID", "0"},
                        {"SLURM_NODEID", "3"},
                        {"SLURM_STEP_ID", "0"},
                        {"SLURM_JOB_ID", "4711"},
                        {"SLURM_STEP_TASKS_PER_NODE", "2(x3),1"},
                        {"SLURM_STEP_NODELIST", "gpu[003-005,9],login"},
                        {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.1"}};
const variables by_kubernetes{{"JOB_COMPLETION_INDEX", "2"},
                              {"WORLD_SIZE", "3"},
                              {"MASTER_ADDR", "train-0.train"},
                              {"MASTER_PORT", "29500"}};
const std::vector<variables> all_launchers{by_allfold_run, by_torchrun, by_open_mpi,
                                           by_mpich,       by_srun,     by_kubernetes};

}  // namespace

TEST_CASE("allfold-run") {
  const auto found = read(by_allfold_run);
  CHECK(found.launcher == "allfold-run");
  CHECK(found.rank == 5);
  CHECK(found.size == 8);
  CHECK(found.local_rank == 1);
  CHECK(found.local_size == 4);
  CHECK(found.address == "node7");
  CHECK(found.port == 29500);
  CHECK(found.rendezvous == "/shared/meet");
  CHECK(found.job == "secret");
}

TEST_CASE("torchrun: a restart is another job, and the agent's port is not the ranks'") {
  const auto found = read(by_torchrun);
  CHECK(found.launcher == "torchrun");
  CHECK(found.rank == 5);
  CHECK(found.local_size == 4);
  CHECK(found.address == "node7");
  CHECK(found.port == 29500);
  CHECK(found.rendezvous.empty());
  const auto restarted = read(with(by_torchrun, {{"TORCHELASTIC_RESTART_COUNT", "3"}}));
  CHECK(restarted.job != found.job);

  const auto beside = read(with(by_torchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}}));
  CHECK(beside.address == "node7");
  CHECK(beside.port != 29500);
  CHECK(beside.port >= 16384);
  CHECK(beside.port < 32768);
  const variables other_rank{{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"RANK", "0"}};
  CHECK(read(with(by_torchrun, other_rank)).port == beside.port);
}

TEST_CASE("Open MPI: on one machine the ranks need not be told where to meet") {
  const auto found = read(by_open_mpi);
  CHECK(found.launcher == "Open MPI");
  CHECK(found.rank == 3);
  CHECK(found.size == 4);
  CHECK(found.local_rank == 1);
  CHECK(found.local_size == 2);
  CHECK(found.job == "3461021697");
  CHECK(found.address.empty());
  CHECK(found.port == 0);

  const variables one_machine{{"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "3"}};
  const auto inside = read(with(by_open_mpi, one_machine));
  CHECK(inside.address == "127.0.0.1");
  CHECK(inside.port >= 16384);
  const auto told = read(with(by_open_mpi, {{"MASTER_ADDR", "node1"}}));
  CHECK(told.address == "node1");
  CHECK(told.port >= 16384);
}

TEST_CASE("MPICH and Intel MPI") {
  const auto found = read(by_mpich);
  CHECK(found.launcher == "MPICH");
  CHECK(found.rank == 3);
  CHECK(found.size == 4);
  CHECK(found.local_rank == 1);
  CHECK(found.local_size == 2);
  CHECK(found.address.empty());
  CHECK(found.job.empty());
  const auto told = read(with(by_mpich, {{"MASTER_ADDR", "node1"}, {"MASTER_PORT", "4711"}}));
  CHECK(told.address == "node1");
  CHECK(told.port == 4711);
  // With all ranks on one machine, and no job to compute a port from, a port is enough.
  const auto inside = with(by_mpich, {{"MPI_LOCALNRANKS", "4"}});
  CHECK(read(inside).address.empty());
  CHECK(read(with(inside, {{"MASTER_PORT", "4711"}})).address == "127.0.0.1");
}

TEST_CASE("srun") {
  const auto found = read(by_srun);
  CHECK(found.launcher == "Slurm");
  CHECK(found.rank == 6);
  CHECK(found.size == 7);
  CHECK(found.local_rank == 0);
  CHECK(found.local_size == 1);
  CHECK(found.address == "gpu003");
  CHECK(found.port >= 16384);
  CHECK(found.job.find("4711.0") == 0);

  const auto other = read(with(by_srun, {{"SLURM_PROCID", "0"}, {"SLURM_NODEID", "0"}}));
  CHECK(other.local_size == 2);
  CHECK(other.port == found.port);
  CHECK(other.job == found.job);
  CHECK(read(with(by_srun, {{"SLURM_STEP_ID", "1"}})).job != found.job);
  CHECK(read(with(by_srun, {{"SLURM_RESTART_COUNT", "1"}})).job != found.job);
  CHECK(read(with(by_srun, {{"SLURM_STEP_NODELIST", "-"}})).address == "10.0.0.1");
  CHECK(read(with(by_srun, {{"MASTER_ADDR", "10.1.1.1"}})).address == "10.1.1.1");
  CHECK(read(with(by_srun, {{"MASTER_PORT", "1234"}})).port == 1234);
  // Older versions have no word for the step's own.
  CHECK(read(with(by_srun, {{"SLURM_STEP_NUM_TASKS", "-"}})).size == 9);
  const variables older{{"SLURM_STEP_TASKS_PER_NODE", "-"}, {"SLURM_TASKS_PER_NODE", "4,2,1,2"}};
  CHECK(read(with(by_srun, older)).local_size == 2);
}

TEST_CASE("a Slurm job outside a step is no launcher") {
  for (const char* step : {"-", "4294967291", "4294967290", "4294967295"}) {
    CAPTURE(step);
    const auto batch = with(by_srun, {{"SLURM_STEP_ID", step}, {"SLURM_PROCID", "0"}});
    CHECK(says(refusal(batch), "in a job of Slurm, but not by srun"));
    CHECK(read(batch, true).launcher == "none");
    CHECK(read(batch, true).size == 1);
  }
  const variables allocation{{"SLURM_JOB_ID", "4711"}, {"SLURM_NTASKS", "8"}};
  CHECK(says(refusal(allocation), "in a job of Slurm, but not by srun"));
}

TEST_CASE("an indexed job of Kubernetes") {
  const auto found = read(by_kubernetes);
  CHECK(found.launcher == "Kubernetes");
  CHECK(found.rank == 2);
  CHECK(found.size == 3);
  CHECK(found.local_rank == 0);
  CHECK(found.local_size == 1);
  CHECK(found.address == "train-0.train");
  CHECK(found.port == 29500);
  CHECK(says(refusal(with(by_kubernetes, {{"WORLD_SIZE", "-"}})),
             "JOB_COMPLETION_INDEX is \"2\", but WORLD_SIZE is not set"));
}

TEST_CASE("by hand: the rank and the size are enough") {
  const auto found = read({{"RANK", "1"}, {"WORLD_SIZE", "2"}});
  CHECK(found.launcher == "RANK and WORLD_SIZE");
  CHECK(found.rank == 1);
  CHECK(found.local_rank == 0);
  CHECK(found.local_size == 1);
  CHECK(found.address.empty());
  CHECK(found.rendezvous.empty());
  CHECK(found.job.empty());
  const auto secret = read({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"ALLFOLD_JOB", "it"}});
  CHECK(secret.launcher == "RANK and WORLD_SIZE");
  CHECK(secret.job == "it");
}

TEST_CASE("of several launchers the first in order counts") {
  variables set;
  const std::vector<std::pair<variables, std::string>> from_last{{by_kubernetes, "Kubernetes"},
                                                                 {by_srun, "Slurm"},
                                                                 {by_mpich, "MPICH"},
                                                                 {by_open_mpi, "Open MPI"},
                                                                 {by_allfold_run, "allfold-run"}};
  for (const auto& [more, name] : from_last) {
    set = with(with(set, more), {{"WORLD_SIZE", more.count("RANK") ? "8" : "-"}});
    if (name == "Kubernetes") set["WORLD_SIZE"] = "3";
    CHECK(read(set).launcher == name);
  }
  // srun --mpi=pmi2 sets these two besides its own, and they do not say which rank of a node it is.
  const variables of_pmi2{{"PMI_RANK", "6"}, {"PMI_SIZE", "7"}};
  CHECK(read(with(by_srun, of_pmi2)).launcher == "Slurm");
  CHECK(says(refusal(of_pmi2), "MPI_LOCALRANKID and MPI_LOCALNRANKS are not set"));
}

TEST_CASE("no launcher: an error that says what was looked for, or alone if that is asked for") {
  const std::string text = refusal({});
  for (const char* name : {"RANK", "allfold-run", "torchrun", "OMPI_COMM_WORLD_RANK", "PMI_RANK",
                           "SLURM_PROCID", "JOB_COMPLETION_INDEX", "or_alone"})
    CHECK(says(text, name));
  const auto found = read({}, true);
  CHECK(found.rank == 0);
  CHECK(found.size == 1);
  CHECK(found.local_rank == 0);
  CHECK(found.local_size == 1);
  CHECK(found.launcher == "none");
  // Whoever has a launcher is not alone.
  CHECK(read(by_srun, true).size == 7);
}

TEST_CASE("an empty variable is one that is not set") {
  CHECK(read({{"RANK", ""}, {"WORLD_SIZE", ""}}, true).launcher == "none");
  CHECK(says(refusal({{"RANK", "1"}, {"WORLD_SIZE", ""}}),
             "RANK is \"1\", but WORLD_SIZE is not set"));
}

TEST_CASE("one of a pair is missing") {
  for (const bool or_alone : {false, true}) {
    CHECK(says(refusal({{"RANK", "1"}}, or_alone), "RANK is \"1\", but WORLD_SIZE is not set"));
    CHECK(
        says(refusal({{"WORLD_SIZE", "2"}}, or_alone), "WORLD_SIZE is \"2\", but RANK is not set"));
  }
  const auto without = [](const variables& set, const char* name) {
    return refusal(with(set, {{name, "-"}}));
  };
  CHECK(says(without(by_allfold_run, "LOCAL_RANK"),
             "LOCAL_WORLD_SIZE is \"4\", but LOCAL_RANK is not set"));
  CHECK(says(without(by_allfold_run, "LOCAL_WORLD_SIZE"),
             "LOCAL_RANK is \"1\", but LOCAL_WORLD_SIZE is not set"));
  CHECK(says(without(by_open_mpi, "OMPI_COMM_WORLD_SIZE"),
             "OMPI_COMM_WORLD_RANK is \"3\", but OMPI_COMM_WORLD_SIZE is not set"));
  CHECK(says(without(by_open_mpi, "OMPI_COMM_WORLD_LOCAL_RANK"), "is not set"));
  CHECK(says(without(by_mpich, "PMI_SIZE"), "PMI_RANK is \"3\", but PMI_SIZE is not set"));
  CHECK(says(without(by_srun, "SLURM_LOCALID"), "SLURM_LOCALID is \"\""));
  CHECK(says(without(by_srun, "SLURM_NODEID"), "SLURM_NODEID is \"\""));
  const variables by_hand{{"RANK", "0"}, {"WORLD_SIZE", "2"}};
  CHECK(says(refusal(with(by_hand, {{"MASTER_ADDR", "node1"}})),
             "MASTER_ADDR is \"node1\", but MASTER_PORT is not set"));
  CHECK(says(refusal(with(by_hand, {{"MASTER_PORT", "4711"}})),
             "MASTER_PORT is \"4711\", but MASTER_ADDR is not set"));
}

TEST_CASE("what is no number, below zero or beyond is refused by its name and value") {
  for (const variables& launcher : all_launchers)
    for (const auto& [name, right] : launcher) {
      const bool counts = name.ends_with("SIZE") || name.ends_with("LOCALNRANKS") ||
                          name == "SLURM_STEP_NUM_TASKS" || name == "MASTER_PORT";
      const bool ranks = name.ends_with("RANK") || name.ends_with("RANKID") ||
                         name == "SLURM_PROCID" || name == "SLURM_LOCALID" ||
                         name == "SLURM_NODEID" || name == "JOB_COMPLETION_INDEX";
      if (!counts && !ranks) continue;
      std::vector<std::string> wrong{"-1", "x",   "1x",  " 1",         "1 ",
                                     "+1", "0x1", "1.0", "99999999999"};
      if (counts) wrong.push_back("0");
      for (const std::string& value : wrong) {
        CAPTURE(name);
        CHECK(says(refusal(with(launcher, {{name, value}})), name + " is \"" + value + '"'));
      }
    }
  CHECK(says(refusal(with(by_allfold_run, {{"MASTER_PORT", "65536"}})), "from 1 to 65535"));
}

TEST_CASE("a rank that is not below the size") {
  CHECK(says(refusal(with(by_allfold_run, {{"RANK", "8"}})),
             "RANK is \"8\", but WORLD_SIZE is \"8\": ranks are 0 to 7"));
  CHECK(says(refusal(with(by_allfold_run, {{"LOCAL_RANK", "4"}})),
             "LOCAL_RANK is \"4\", but LOCAL_WORLD_SIZE is \"4\""));
  CHECK(says(refusal(with(by_allfold_run, {{"LOCAL_WORLD_SIZE", "9"}})),
             "LOCAL_WORLD_SIZE is \"9\", but there are 8 ranks in all"));
  CHECK(says(refusal(with(by_open_mpi, {{"OMPI_COMM_WORLD_RANK", "4"}})), "ranks are 0 to 3"));
  CHECK(says(refusal(with(by_srun, {{"SLURM_PROCID", "7"}})), "ranks are 0 to 6"));
  CHECK(says(refusal(with(by_srun, {{"SLURM_LOCALID", "1"}})),
             "SLURM_LOCALID is \"1\", but its node has 1 tasks: SLURM_STEP_TASKS_PER_NODE is "
             "\"2(x3),1\""));
  CHECK(says(refusal(with(by_kubernetes, {{"JOB_COMPLETION_INDEX", "3"}})), "ranks are 0 to 2"));
}

TEST_CASE("a WORLD_SIZE that the launcher contradicts") {
  CHECK(read(with(by_srun, {{"WORLD_SIZE", "7"}})).launcher == "Slurm");
  CHECK(says(refusal(with(by_srun, {{"WORLD_SIZE", "8"}})),
             "WORLD_SIZE is \"8\", but SLURM_STEP_NUM_TASKS is \"7\""));
}

TEST_CASE("tasks of a Slurm node") {
  using allfold::detail::tasks_of_node;
  const std::string list = "2(x3),1,16(x2)";
  const std::vector<int> expected{2, 2, 2, 1, 16, 16};
  for (int node = 0; node < 6; ++node) CHECK(tasks_of_node(list, node) == expected[at(node)]);
  CHECK_FALSE(tasks_of_node(list, 6));
  CHECK(tasks_of_node("4", 0) == 4);
  for (const char* wrong : {"", ",", "2,", ",2", "2(x", "2(x)", "2(x3", "2(3)", "(x3)", "2(x3)1",
                            "2(x0)", "-1", "2(x-1)", "two", "2 (x3)", "2(x99999999999)"}) {
    CAPTURE(wrong);
    CHECK_FALSE(tasks_of_node(wrong, 0));
    CHECK(says(refusal(with(by_srun, {{"SLURM_STEP_TASKS_PER_NODE", wrong[0] ? wrong : "x"}})),
               "does not say how many tasks node 3"));
  }
  CHECK(says(refusal(with(by_srun, {{"SLURM_NODEID", "4"}})), "node 4 (SLURM_NODEID)"));
}

TEST_CASE("the first of Slurm's hosts") {
  using allfold::detail::first_host;
  CHECK(first_host("node1") == "node1");
  CHECK(first_host("node1,node2") == "node1");
  CHECK(first_host("node[3-5,7],other") == "node3");
  CHECK(first_host("node[003-005]") == "node003");
  CHECK(first_host("node[7]") == "node7");
  CHECK(first_host("node[9,1]-ib") == "node9-ib");
  CHECK(first_host("rack[1-2]node[03-04]") == "rack1node03");
  for (const char* wrong : {"", ",node", "node[", "node[3", "node[]", "node[-3]"}) {
    CAPTURE(wrong);
    CHECK_FALSE(first_host(wrong));
  }
  CHECK(says(refusal(with(by_srun, {{"SLURM_STEP_NODELIST", "node["}})),
             "SLURM_STEP_NODELIST is \"node[\", which is not a list of nodes"));
}

TEST_CASE("no launcher's error shows the job") {
  for (const auto& [name, right] : by_allfold_run) {
    if (name.starts_with("ALLFOLD_") || name == "MASTER_ADDR") continue;
    const std::string text = refusal(with(by_allfold_run, {{name, "-7"}}));
    CHECK(text.find("secret") == std::string::npos);
  }
}

TEST_CASE("the process's own variables") {
  for (const auto& [name, value] : by_srun) unsetenv(name.c_str());
  for (const auto& [name, value] : by_open_mpi) unsetenv(name.c_str());
  for (const auto& [name, value] : by_allfold_run) setenv(name.c_str(), value.c_str(), 1);
  const auto found = allfold::from_environment();
  CHECK(found.rank == 5);
  CHECK(found.launcher == "allfold-run");
  setenv("RANK", "8", 1);
  const outcome ended = attempt([] { allfold::from_environment(); });
  CHECK(ended.how == ending::usage);
  CHECK(ended.says("from_environment at environment.cpp:"));
  for (const auto& [name, value] : by_allfold_run) unsetenv(name.c_str());
}
