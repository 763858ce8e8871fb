// All of the library that needs nothing but a C++20 compiler.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/collective/all_reduce.hpp>
#include <allfold/collective/all_to_all.hpp>
#include <allfold/collective/barrier.hpp>
#include <allfold/collective/broadcast.hpp>
#include <allfold/collective/gather.hpp>
#include <allfold/collective/reduce.hpp>
#include <allfold/collective/reduce_scatter.hpp>
#include <allfold/collective/scatter.hpp>
#include <allfold/communicator/threads.hpp>
#include <allfold/config.hpp>
#include <allfold/data_parallel/data_parallel.hpp>
#include <allfold/data_parallel/sampler.hpp>
#include <allfold/error.hpp>
#include <allfold/half.hpp>
#include <allfold/launch/spawn.hpp>
#include <allfold/reduction.hpp>
#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/proof.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>
