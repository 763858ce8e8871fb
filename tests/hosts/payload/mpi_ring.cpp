// What an MPI sees of two hosts, for Open MPI and MPICH alike. Started by mpirun.
//   mpi_ring BYTES                   passes so many bytes on from rank to rank, once around
//   mpi_ring BYTES SECONDS FOLDER    then sums over all ranks again and again, until a sum takes
//     longer than so many seconds. Each rank writes what it saw to FOLDER/<rank>, for its output
//     need not arrive, and ends with 3. FOLDER/summing appears when every rank has a sum,
//     FOLDER/over when the first rank ends.
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;
using seconds = std::chrono::duration<double>;

constexpr int lost = 3;
constexpr seconds longest{30};  // until the cable must have been pulled

int rank() {
  int it = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &it);
  return it;
}
int size() {
  int it = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &it);
  return it;
}

/// Rank 0 sends, every rank waits for its predecessor's bytes before it passes its own on.
bool pass_around(int bytes) {
  const int next = (rank() + 1) % size(), previous = (rank() + size() - 1) % size();
  std::vector<char> out(static_cast<std::size_t>(bytes), static_cast<char>(rank()));
  std::vector<char> in(out.size());
  if (rank() == 0) MPI_Send(out.data(), bytes, MPI_CHAR, next, 0, MPI_COMM_WORLD);
  MPI_Recv(in.data(), bytes, MPI_CHAR, previous, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  if (rank() != 0) MPI_Send(out.data(), bytes, MPI_CHAR, next, 0, MPI_COMM_WORLD);
  return in == std::vector<char>(in.size(), static_cast<char>(previous));
}

/// Rank 0 prints every rank's host.
void print_hosts() {
  constexpr int length = 64;
  std::vector<char> mine(length), all(static_cast<std::size_t>(length * size()));
  gethostname(mine.data(), length - 1);
  MPI_Gather(mine.data(), length, MPI_CHAR, all.data(), length, MPI_CHAR, 0, MPI_COMM_WORLD);
  if (rank() != 0) return;
  std::string line = "hosts:";
  for (int i = 0; i < size(); ++i)
    line += std::string{" "} + &all[static_cast<std::size_t>(i * length)];
  std::puts(line.c_str());
  std::fflush(stdout);
}

/// How a sum over all ranks of 1 ends: with its result, or with -1 when it takes longer than
/// `most`.
int sum_within(seconds most) {
  int one = 1, sum = 0, done = 0;
  MPI_Request request;
  MPI_Iallreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &request);
  const auto begin = clock_type::now();
  while (true) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return sum;
    if (clock_type::now() - begin > most) return -1;
    std::this_thread::yield();
  }
}

[[noreturn]] void sum_until_lost(seconds most, const std::string& folder) {
  const auto begin = clock_type::now();
  std::string saw = "the cable was not pulled";
  int status = 1;
  for (int done = 0; clock_type::now() - begin < longest; ++done) {
    if (done == 2 && rank() == 0) std::ofstream{folder + "/summing"};
    const int sum = sum_within(most);
    if (sum == size()) continue;
    saw = sum == -1 ? "lost after " + std::to_string(done) + " sums" : "a wrong sum";
    if (sum == -1) status = lost;
    break;
  }
  std::ofstream{folder + "/" + std::to_string(rank())} << saw << '\n';
  std::this_thread::sleep_for(std::chrono::seconds{1});  // the first that ends may end the others
  std::ofstream{folder + "/over"};
  std::_Exit(status);  // MPI_Finalize would wait for the ranks that can't be reached
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  if (argc != 2 && argc != 4) {
    std::fprintf(stderr, "usage: mpi_ring BYTES [SECONDS FOLDER]\n");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  print_hosts();
  if (!pass_around(std::atoi(argv[1]))) {
    std::fprintf(stderr, "rank %d got other bytes than its predecessor sent\n", rank());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  if (argc == 4) sum_until_lost(seconds{std::atof(argv[2])}, argv[3]);
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
}
