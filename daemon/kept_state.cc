// SPDX-License-Identifier: Apache-2.0
#include "daemon/kept_state.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pinwatch {
namespace {

namespace fs = std::filesystem;

constexpr char kVersion[] = "v1";
constexpr char kLinks[] = "links";
constexpr char kPrograms[] = "programs";
constexpr char kMaps[] = "maps";
constexpr char kChunks[] = "chunks";
constexpr char kWords[] = "words";

constexpr char kHalfMade[] =
    "what a pinwatchd left that was killed as it began is lost";

// A host may have more sections now than when the map was made.
bool IsSizedByHost(const std::string& map) {
  return map == "claim_chunks" || map == "pin_landed";
}

std::vector<fs::path> Children(const fs::path& folder) {
  std::vector<fs::path> children;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    children.push_back(entry.path());
  std::sort(children.begin(), children.end());
  return children;
}

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) && errno != EEXIST)
    return absl::ErrnoToStatus(errno, absl::StrCat("make ", path));
  return absl::OkStatus();
}

absl::Status Pin(int fd, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str()))
    return absl::ErrnoToStatus(errno, absl::StrCat("keep ", path));
  return absl::OkStatus();
}

void RemoveTree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
}

// bpffs takes no name with a dot.
std::string FileName(const bpf_map* map) {
  std::string name = bpf_map__name(map);
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

template <typename Visit>
void ForEachKeptMap(const bpf_object* object, const std::set<std::string>& own,
                    Visit visit) {
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    if (!own.count(FileName(map))) visit(map);
  }
}

// The type with all that it is made of, as text.
void DescribeType(const btf* types, uint32_t id, std::string& text) {
  const btf_type* type = btf__type_by_id(types, id);
  if (!type) return;
  absl::StrAppend(&text, btf_kind(type), " ",
                  btf__name_by_offset(types, type->name_off), " ");
  switch (btf_kind(type)) {
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      for (uint32_t i = 0; i < btf_vlen(type); ++i) {
        const btf_member& member = btf_members(type)[i];
        absl::StrAppend(&text, btf__name_by_offset(types, member.name_off), "@",
                        btf_member_bit_offset(type, i), " ");
        DescribeType(types, member.type, text);
      }
      break;
    case BTF_KIND_DATASEC:
      for (uint32_t i = 0; i < btf_vlen(type); ++i) {
        const btf_var_secinfo& variable = btf_var_secinfos(type)[i];
        absl::StrAppend(&text, variable.offset, " ");
        DescribeType(types, variable.type, text);
      }
      break;
    case BTF_KIND_ARRAY:
      absl::StrAppend(&text, btf_array(type)->nelems, " ");
      DescribeType(types, btf_array(type)->type, text);
      break;
    case BTF_KIND_VAR:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_CONST:
    case BTF_KIND_VOLATILE:
      DescribeType(types, type->type, text);
      break;
    default:
      absl::StrAppend(&text, type->size, "; ");
  }
}

size_t ValueSize(int map) {
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  return bpf_obj_get_info_by_fd(map, &info, &size) ? 0 : info.value_size;
}

// Whether the link keeps that program attached.
bool Attaches(const Hook& hook) {
  bpf_link_info link{};
  uint32_t size = sizeof(link);
  if (bpf_obj_get_info_by_fd(hook.link, &link, &size)) return false;
  bpf_prog_info program{};
  size = sizeof(program);
  if (bpf_obj_get_info_by_fd(hook.program, &program, &size)) return false;
  return link.prog_id == program.id;
}

}  // namespace

void Close(std::vector<Hook>& hooks) {
  for (const Hook& hook : hooks)
    for (const int fd : {hook.program, hook.link})
      if (fd >= 0) close(fd);
  hooks.clear();
}

uint64_t Fingerprint(absl::string_view text) {
  // FNV-1a
  uint64_t hash = 14695981039346656037u;
  for (const char c : text)
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

uint64_t SchemaOf(const bpf_object* object, const std::set<std::string>& own) {
  const btf* types = bpf_object__btf(object);
  std::string text = absl::StrCat(sizeof(KeptWords), "\n");
  ForEachKeptMap(object, own, [&](const bpf_map* map) {
    const std::string name = bpf_map__name(map);
    absl::StrAppend(&text, name, " ", bpf_map__type(map), " ",
                    bpf_map__key_size(map), " ", bpf_map__value_size(map), " ",
                    bpf_map__map_flags(map), " ",
                    IsSizedByHost(name) ? 0 : bpf_map__max_entries(map), ": ");
    DescribeType(types, bpf_map__btf_key_type_id(map), text);
    DescribeType(types, bpf_map__btf_value_type_id(map), text);
    text += '\n';
  });
  const int chunk =
      btf__find_by_name_kind(types, "claim_chunk", BTF_KIND_STRUCT);
  if (chunk > 0) DescribeType(types, static_cast<uint32_t>(chunk), text);
  return Fingerprint(text);
}

KeptState::KeptState(std::string directory, int lock)
    : directory_(std::move(directory)),
      root_(absl::StrCat(directory_, "/", kVersion)),
      lock_(lock) {}

KeptState::~KeptState() {
  if (words_) munmap(words_, sizeof(KeptWords));
  close(lock_);
}

std::string KeptState::path() const { return root_; }

absl::StatusOr<std::unique_ptr<KeptState>> KeptState::Open(
    const std::string& directory) {
  if (absl::Status status = MakeFolder(directory); !status.ok()) return status;
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", directory));
  // The lock goes with the process, however that ends.
  auto kept = std::unique_ptr<KeptState>(new KeptState(directory, fd));
  struct statfs system;
  if (fstatfs(fd, &system) || system.f_type != BPF_FS_MAGIC)
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is in no BPF file system (mount -t bpf)"));
  if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
    return absl::AlreadyExistsError(
        absl::StrCat(directory,
                     " is another pinwatchd's: stop that one, or give this one "
                     "another --bpf.dir"));
  if (access(directory.c_str(), W_OK))
    return absl::ErrnoToStatus(errno, absl::StrCat("write to ", directory));
  return kept;
}

absl::Status KeptState::MapWords(int fd) {
  void* memory = mmap(nullptr, sizeof(KeptWords), PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED)
    return absl::ErrnoToStatus(errno, absl::StrCat("map ", root_, "/", kWords));
  words_ = static_cast<KeptWords*>(memory);
  return absl::OkStatus();
}

absl::StatusOr<bool> KeptState::TakeOverMaps(bpf_object* object,
                                             const std::set<std::string>& own,
                                             const KeptWords& wanted) {
  if (Children(directory_).empty()) return false;
  const int fd = bpf_obj_get(absl::StrCat(root_, "/", kWords).c_str());
  if (fd < 0)
    refused_ = kHalfMade;
  else if (ValueSize(fd) != sizeof(KeptWords) || !MapWords(fd).ok() ||
           words_->schema != wanted.schema)
    refused_ = "claims of another layout were there, which are lost";
  else if (std::strcmp(words_->boot_id, wanted.boot_id) != 0)
    refused_ = "claims of another boot were there, which are lost";
  if (fd >= 0) close(fd);
  std::vector<std::pair<bpf_map*, int>> maps;
  if (refused_.empty())
    ForEachKeptMap(object, own, [&](bpf_map* map) {
      const std::string path =
          absl::StrCat(root_, "/", kMaps, "/", FileName(map));
      maps.emplace_back(map, bpf_obj_get(path.c_str()));
    });
  // All or none.
  for (const auto& [map, map_fd] : maps)
    if (map_fd < 0) refused_ = kHalfMade;
  absl::Status status;
  for (const auto& [map, map_fd] : maps) {
    if (refused_.empty() && bpf_map__reuse_fd(map, map_fd))
      status.Update(absl::ErrnoToStatus(
          errno, absl::StrCat("take over the map ", bpf_map__name(map))));
    if (map_fd >= 0) close(map_fd);
  }
  if (!status.ok()) return status;
  if (refused_.empty()) return true;
  Remove();
  return false;
}

absl::Status KeptState::KeepMaps(const bpf_object* object,
                                 const std::set<std::string>& own) {
  absl::Status status = MakeFolder(root_);
  for (const char* folder : {kMaps, kChunks, kPrograms, kLinks})
    status.Update(MakeFolder(absl::StrCat(root_, "/", folder)));
  ForEachKeptMap(object, own, [&](const bpf_map* map) {
    status.Update(Pin(bpf_map__fd(map),
                      absl::StrCat(root_, "/", kMaps, "/", FileName(map))));
  });
  return status;
}

absl::Status KeptState::KeepWords(KeptWords words) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
  const int fd =
      bpf_map_create(BPF_MAP_TYPE_ARRAY, "pinwatch_words", sizeof(uint32_t),
                     sizeof(KeptWords), 1, &options);
  if (fd < 0) return absl::ErrnoToStatus(errno, "make the map of kept words");
  absl::Status status = MapWords(fd);
  if (status.ok()) {
    *words_ = words;
    status = Pin(fd, absl::StrCat(root_, "/", kWords));
  }
  close(fd);
  return status;
}

std::string KeptState::FolderOf(const char* kind, uint32_t generation) const {
  const std::string prefix = absl::StrCat(generation, "_");
  for (const fs::path& folder : Children(absl::StrCat(root_, "/", kind)))
    if (folder.filename().string().rfind(prefix, 0) == 0)
      return folder.string();
  return "";
}

bool KeptState::IsOfBuild(uint32_t generation, uint64_t build) const {
  return fs::path(FolderOf(kPrograms, generation)).filename() ==
         absl::StrCat(generation, "_", absl::Hex(build));
}

uint32_t KeptState::NextGeneration() const {
  uint32_t next = 0;
  for (const char* kind : {kPrograms, kLinks})
    for (const fs::path& folder : Children(absl::StrCat(root_, "/", kind))) {
      const std::string name = folder.filename();
      uint32_t generation;
      if (absl::SimpleAtoi(name.substr(0, name.find('_')), &generation))
        next = std::max(next, generation + 1);
    }
  return next;
}

std::vector<Hook> KeptState::TakeOverHooks(uint32_t generation) const {
  std::vector<Hook> hooks;
  const std::string links = FolderOf(kLinks, generation);
  bool complete = !links.empty();
  for (const fs::path& path : Children(FolderOf(kPrograms, generation))) {
    const std::string name = path.filename();
    hooks.push_back(
        {.name = name,
         .program = bpf_obj_get(path.c_str()),
         .link = bpf_obj_get(absl::StrCat(links, "/", name).c_str())});
    complete = complete && Attaches(hooks.back());
  }
  if (!complete) Close(hooks);
  return hooks;
}

absl::Status KeptState::KeepPrograms(uint32_t generation, uint64_t build,
                                     const std::vector<Hook>& hooks) {
  const std::string name = absl::StrCat(generation, "_", absl::Hex(build));
  const std::string folder = absl::StrCat(root_, "/", kPrograms, "/", name);
  absl::Status status = MakeFolder(folder);
  status.Update(MakeFolder(absl::StrCat(root_, "/", kLinks, "/", name)));
  for (const Hook& hook : hooks)
    status.Update(Pin(hook.program, absl::StrCat(folder, "/", hook.name)));
  return status;
}

absl::Status KeptState::KeepLinks(uint32_t generation,
                                  const std::vector<Hook>& hooks) {
  const std::string folder = FolderOf(kLinks, generation);
  absl::Status status;
  for (const Hook& hook : hooks)
    status.Update(Pin(hook.link, absl::StrCat(folder, "/", hook.name)));
  return status;
}

void KeptState::RemoveLinks(uint32_t generation) {
  const std::string folder = FolderOf(kLinks, generation);
  if (folder.empty()) return;
  for (const fs::path& link : Children(folder)) RemoveTree(link);
}

void KeptState::RemoveLink(uint32_t generation, const std::string& hook) {
  const std::string folder = FolderOf(kLinks, generation);
  if (!folder.empty()) RemoveTree(fs::path(folder) / hook);
}

void KeptState::RemoveAllGenerationsBut(uint32_t generation) {
  const std::string kept = absl::StrCat(generation, "_");
  for (const char* kind : {kLinks, kPrograms})
    for (const fs::path& folder : Children(absl::StrCat(root_, "/", kind)))
      if (folder.filename().string().rfind(kept, 0) != 0) RemoveTree(folder);
}

std::map<uint64_t, int> KeptState::OpenChunks() const {
  std::map<uint64_t, int> chunks;
  for (const fs::path& path : Children(absl::StrCat(root_, "/", kChunks))) {
    uint64_t section;
    if (!absl::SimpleAtoi(path.filename().string(), &section)) continue;
    const int fd = bpf_obj_get(path.c_str());
    if (fd >= 0) chunks[section] = fd;
  }
  return chunks;
}

absl::Status KeptState::KeepChunk(uint64_t section, int fd) {
  return Pin(fd, absl::StrCat(root_, "/", kChunks, "/", section));
}

void KeptState::Remove() {
  if (words_) munmap(words_, sizeof(KeptWords));
  words_ = nullptr;
  RemoveTree(fs::path(root_) / kWords);
  RemoveTree(fs::path(root_) / kLinks);
  RemoveTree(root_);
}

}  // namespace pinwatch
