// SPDX-License-Identifier: Apache-2.0
//
// Memory of a known physical shape, in pages of order 0 that nothing moves or
// joins while it is used. Every function fails if it did not get that shape.

#ifndef PINWATCH_TESTS_BENCH_MEMORY_H_
#define PINWATCH_TESTS_BENCH_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

// Runs of hundreds of page frames, one after the other.
char* MapContiguous(size_t nr_pages);

// No page stands beside the one before it; they are spread over four times
// as much memory.
char* MapScattered(size_t nr_pages);

// A number of pages in a stretch of page frames.
size_t CountWithin(const std::vector<uint64_t>& pfns, uint64_t begin,
                   uint64_t end);

}  // namespace bench

#endif  // PINWATCH_TESTS_BENCH_MEMORY_H_
