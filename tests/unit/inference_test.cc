// SPDX-License-Identifier: Apache-2.0
#include "daemon/inference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

void ExpectThat(const InferredAttribution& got, Certainty certainty,
                const std::string& reason,
                const std::vector<size_t>& candidates) {
  EXPECT_EQ(got.certainty, certainty);
  EXPECT_EQ(got.reason, reason);
  EXPECT_EQ(got.candidates, candidates);
}

Candidate Pinning(std::optional<uint64_t> pinned, uint64_t mapped) {
  return {.pinned_pages = pinned, .mapped_pages = mapped};
}

TEST(Inference, NamesWhoAloneMapsAFolioAndSeveralAsOneOfThem) {
  const Inference inference{.candidates = {Pinning(23, 23), Pinning(37, 23)},
                            .mapped_by = {{7, {0}}, {11, {0, 1}}, {13, {}}}};
  ExpectThat(inference.Attribute(7), Certainty::kInferred, "mapped_by_one",
             {0});
  ExpectThat(inference.Attribute(11), Certainty::kInferred, "mapped_by_several",
             {0, 1});
  ExpectThat(inference.Attribute(13), Certainty::kUnattributed, "no_candidate",
             {});
  ExpectThat(inference.Attribute(17), Certainty::kUnattributed, "not_searched",
             {});
}

TEST(Inference, DoesNotNameWhoPinsLessThanItMaps) {
  Inference inference{.candidates = {Pinning(22, 23)}, .mapped_by = {{7, {0}}}};
  ExpectThat(inference.Attribute(7), Certainty::kUnattributed,
             "maps_more_than_it_pins", {});
  // What a device pins is not accounted there.
  inference.candidates[0].pinned_pages.reset();
  ExpectThat(inference.Attribute(7), Certainty::kInferred, "mapped_by_one",
             {0});
}

TEST(Inference, SaysWhereAFolioIsChargedToAnotherCgroup) {
  Inference inference{.candidates = {Pinning(23, 23)},
                      .mapped_by = {{7, {0}}},
                      .charged_to = {{7, 4711}},
                      .cgroup_paths = {{4711, "/a/b"}}};
  const auto reason = [&](const std::string& cgroup) {
    inference.candidates[0].memory_cgroup = cgroup;
    return inference.Attribute(7).reason;
  };
  EXPECT_EQ(reason("/c"), "charged_elsewhere");
  EXPECT_EQ(reason("/a/bb"), "charged_elsewhere");
  EXPECT_EQ(reason("/a/b"), "mapped_by_one");
  EXPECT_EQ(reason("/a"), "mapped_by_one") << "it may have been moved there";
  EXPECT_EQ(reason("/a/b/c"), "mapped_by_one");
  EXPECT_EQ(reason(""), "mapped_by_one") << "not known";
  inference.cgroup_paths[4711] = "/";
  EXPECT_EQ(reason("/c"), "mapped_by_one")
      << "as all that nobody put elsewhere";
}

TEST(Inference, NamesNobodyAfterOneOfThemHasEnded) {
  Inference inference{.candidates = {Pinning(23, 23), Pinning(23, 23)},
                      .mapped_by = {{7, {0, 1}}}};
  inference.candidates[1].holder.process.ended = true;
  ExpectThat(inference.Attribute(7), Certainty::kUnattributed, "not_searched",
             {});
}

TEST(Inference, SaysWhereOthersMayMapItThatWereNotSearched) {
  Inference inference{.candidates = {Pinning(23, 23)},
                      .mapped_by = {{7, {0}}},
                      .processes_left_out = 1};
  ExpectThat(inference.Attribute(7), Certainty::kInferred, "search_incomplete",
             {0});
}

TEST(Inference, ReadsWhatIsAccountedAsPinned) {
  EXPECT_EQ(
      PinnedPagesOf("Name:\tVmPin:\nVmLck:\t 8 kB\nVmPin:\t      92 kB\n"),
      23u);
  EXPECT_EQ(PinnedPagesOf("Name:\tkworker/0:1\n"), 0u) << "a kernel thread";
  EXPECT_EQ(PinnedPagesOf("VmPin:\t-4 kB"), 0u);
  EXPECT_EQ(PinnedPagesOf(""), 0u);
}

std::string What(absl::string_view target, absl::string_view fdinfo = "") {
  const std::optional<Pinner> pinner = PinnerOf(target, fdinfo);
  EXPECT_TRUE(!pinner || MayBePinner(target)) << target;
  return pinner ? pinner->what : "";
}

TEST(Inference, KnowsFilesThroughWhichMemoryIsPinned) {
  EXPECT_EQ(
      What("anon_inode:[io_uring]", "pos:\t0\nUserBufs:\t1\n    0x7f/4096"),
      "io_uring with registered buffers");
  EXPECT_EQ(What("/dev/vfio/17"), "vfio");
  EXPECT_EQ(What("/dev/vfio/devices/vfio0"), "vfio");
  EXPECT_EQ(What("/dev/iommu"), "iommufd");
  EXPECT_EQ(What("/dev/infiniband/uverbs0"), "rdma");
  EXPECT_EQ(What("/dmabuf:", "size:\t94208\nexp_name:\tudmabuf\n"), "udmabuf");
}

TEST(Inference, TakesNoOtherFileForAPinner) {
  EXPECT_EQ(What("anon_inode:[io_uring]", "UserBufs:\t0\n"), "");
  EXPECT_EQ(What("anon_inode:[io_uring]"), "") << "fdinfo hidden";
  EXPECT_EQ(What("anon_inode:kvm-vm"), "") << "pins nothing by itself";
  EXPECT_EQ(What("/dmabuf:", "exp_name:\ti915\n"), "");
  EXPECT_EQ(What("/tmp/dev/vfio/17"), "");
  EXPECT_EQ(What("/dev/infiniband/rdma_cm"), "");
  EXPECT_EQ(What(""), "");
}

TEST(Inference, ReadsMappingsThatCanBeUsed) {
  EXPECT_THAT(
      MappedRanges(
          "1000-3000 rw-s 00000000 00:01 7 /memfd:a b (deleted)\n"
          "4000-ff000 ---p 00000000 00:00 0 \n"
          "5000-6000 -w-p 00000000 00:00 0\n"
          "ffffffffff600000-ffffffffff601000 --xp 0 0 0  [vsyscall]\n"),
      ElementsAre(AddressRange{0x1000, 0x3000}, AddressRange{0x5000, 0x6000}));
  EXPECT_THAT(MappedRanges(""), IsEmpty());
  EXPECT_THAT(MappedRanges("3000-1000 rw-p\nxyz\n-\n1000 r"), IsEmpty());
}

TEST(Inference, ReadsPageFramesOfPresentPages) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  EXPECT_EQ(PfnOf(kPresent | 0x1234), 0x1234u);
  EXPECT_EQ(PfnOf(kPresent | uint64_t{1} << 55 | 7), 7u) << "soft-dirty";
  EXPECT_EQ(PfnOf(uint64_t{1} << 62 | 0x1234), std::nullopt) << "swapped out";
  EXPECT_EQ(PfnOf(kPresent), std::nullopt) << "hidden";
  EXPECT_EQ(PfnOf(0), std::nullopt);
}

}  // namespace
}  // namespace pinwatch
