// The main function of the tests on MPI: begins MPI, and ends it. Test suites "before MPI" and
// "after MPI" run outside.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <mpi.h>

namespace {

constexpr const char* outside = "before MPI,after MPI";

/// Runs one of the suites outside; says nothing if all is well.
int run_suite(int count, char** values, const char* name) {
  doctest::Context context{count, values};
  context.addFilter("test-suite", name);
  context.setOption("minimal", true);
  return context.run();
}

}  // namespace

int main(int count, char** values) {
  int failed = run_suite(count, values, "before MPI");
  int level = 0;
  MPI_Init_thread(&count, &values, MPI_THREAD_MULTIPLE, &level);
  {
    doctest::Context context{count, values};
    context.addFilter("test-suite-exclude", outside);
    failed |= context.run();
  }
  MPI_Finalize();
  failed |= run_suite(count, values, "after MPI");
  return failed;
}
