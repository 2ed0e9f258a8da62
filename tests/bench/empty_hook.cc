// SPDX-License-Identifier: Apache-2.0
//
// Attaches an empty program to the exit of every pin function, and to the begin
// and end of migrate_pages, as far as this kernel lets them be traced; says
// which those are, and holds them until stdin ends.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tests/bench/bpf/empty_hook.skel.h"

int main() {
  libbpf_set_print(nullptr);
  empty_hook_bpf* hooks = empty_hook_bpf__open();
  if (!hooks) {
    std::perror("empty-hook: open the programs");
    return 1;
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, hooks->obj) {
    const int id = libbpf_find_vmlinux_btf_id(
        bpf_program__name(program), bpf_program__expected_attach_type(program));
    bpf_program__set_autoload(program, id > 0);
  }
  if (const int error = empty_hook_bpf__load(hooks)) {
    std::fprintf(stderr, "empty-hook: load the programs: %s\n",
                 std::strerror(-error));
    return 1;
  }
  int attached = 0;
  bpf_object__for_each_program(program, hooks->obj) {
    if (!bpf_program__autoload(program)) continue;
    // Before Linux v6.6 no function of more than six arguments can be traced.
    if (!bpf_program__attach(program)) continue;
    std::printf("%s%s", attached++ ? " " : "", bpf_program__name(program));
  }
  std::printf("\n");
  std::fflush(stdout);
  if (attached == 0) {
    std::fprintf(stderr, "empty-hook: no pin function can be traced\n");
    return 1;
  }
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
