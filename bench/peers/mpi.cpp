// An MPI's collectives, for Open MPI and MPICH alike. Started by mpirun.
#include "serve.hpp"

#include <mpi.h>

namespace {

class mpi_rank {
 public:
  mpi_rank() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  int rank() const { return rank_; }
  int size() const { return size_; }
  void send(peers::line& text) {
    MPI_Bcast(text.data(), static_cast<int>(text.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
  }
  void meet() { MPI_Barrier(MPI_COMM_WORLD); }
  bool all_of(bool flag) {
    int all = flag ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return all == 1;
  }

  using calls = void (*)(mpi_rank&, peers::work&, int);
  static calls find(const std::string& collective, const std::string& contender);

 private:
  int rank_ = 0, size_ = 1;
};

/// The arguments of one call.
struct memory {
  float *in, *out;
  int count, share;  ///< elements of the whole, and of each rank
};

template <auto Call>
void repeat(mpi_rank&, peers::work& it, int iterations) {
  const memory its{it.in(), it.out(), static_cast<int>(it.count()), static_cast<int>(it.share())};
  for (int i = 0; i < iterations; ++i) Call(its);
}

void all_reduce(const memory& it) {
  MPI_Allreduce(MPI_IN_PLACE, it.out, it.count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}
void broadcast(const memory& it) { MPI_Bcast(it.out, it.count, MPI_FLOAT, 0, MPI_COMM_WORLD); }
void reduce(const memory& it) {
  MPI_Reduce(it.in, it.out, it.count, MPI_FLOAT, MPI_SUM, 0, MPI_COMM_WORLD);
}
void all_gather(const memory& it) {
  MPI_Allgather(it.in, it.share, MPI_FLOAT, it.out, it.share, MPI_FLOAT, MPI_COMM_WORLD);
}
void reduce_scatter(const memory& it) {
  MPI_Reduce_scatter_block(it.in, it.out, it.share, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}
void all_to_all(const memory& it) {
  MPI_Alltoall(it.in, it.share, MPI_FLOAT, it.out, it.share, MPI_FLOAT, MPI_COMM_WORLD);
}
void barrier(const memory&) { MPI_Barrier(MPI_COMM_WORLD); }

mpi_rank::calls mpi_rank::find(const std::string& collective, const std::string&) {
  if (collective == "all_reduce") return repeat<all_reduce>;
  if (collective == "broadcast") return repeat<broadcast>;
  if (collective == "reduce") return repeat<reduce>;
  if (collective == "all_gather") return repeat<all_gather>;
  if (collective == "reduce_scatter") return repeat<reduce_scatter>;
  if (collective == "all_to_all") return repeat<all_to_all>;
  if (collective == "barrier") return repeat<barrier>;
  return nullptr;
}

void tell_who_is_there(const mpi_rank& rank) {
  const int own = static_cast<int>(getpid());
  std::vector<int> all(static_cast<std::size_t>(rank.size()));
  MPI_Gather(&own, 1, MPI_INT, all.data(), 1, MPI_INT, 0, MPI_COMM_WORLD);
  if (rank.rank() == 0) peers::announce(all);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  {
    mpi_rank rank;
    peers::bind(rank.rank());
    tell_who_is_there(rank);
    peers::server{rank}();
  }
  MPI_Finalize();
}
