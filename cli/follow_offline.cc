// SPDX-License-Identifier: Apache-2.0
#include "cli/follow_offline.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/attempts_table.h"
#include "cli/offline.h"
#include "cli/text.h"

namespace pinwatch {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kFirstTold = absl::Seconds(1);
constexpr absl::Duration kLongestSilence = absl::Seconds(30);
// The daemon publishes once a second, and may be short of CPU.
constexpr absl::Duration kStoryTimeout = absl::Seconds(5);

// Takes the signals that end a command away from it, and from the threads that
// it starts, and tells of them.
class EndingSignals {
 public:
  EndingSignals() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE})
      sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~EndingSignals() {
    // One more of them shall not end the command before it has said its word.
    const timespec now = {};
    while (sigtimedwait(&signals_, nullptr, &now) > 0) continue;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  // The next one, or 0 if none comes in that time.
  int Wait(absl::Duration timeout) const {
    const timespec time = absl::ToTimespec(timeout);
    return std::max(0, sigtimedwait(&signals_, nullptr, &time));
  }

 private:
  sigset_t signals_;
  sigset_t before_;
};

// The attempt of this process's thread alone; empty where it is not known.
v1::ListAttemptsResponse StoryOf(const Question& question, uint64_t block,
                                 pid_t tid) {
  v1::ListAttemptsResponse story;
  absl::StatusOr<v1::ListAttemptsResponse> all = AskAttempts(question);
  if (!all.ok()) return story;
  for (v1::Attempt& attempt : *all->mutable_attempts()) {
    if (attempt.operation() != "offline" || attempt.block() != block ||
        attempt.pid() != static_cast<uint32_t>(getpid()) ||
        attempt.tid() != static_cast<uint32_t>(tid))
      continue;
    *story.add_attempts() = std::move(attempt);
    *story.mutable_owners() = std::move(*all->mutable_owners());
    break;
  }
  return story;
}

v1::ListAttemptsResponse EndedStoryOf(const Question& question, uint64_t block,
                                      pid_t tid) {
  const absl::Time deadline = absl::Now() + kStoryTimeout;
  v1::ListAttemptsResponse story;
  do {
    absl::SleepFor(kTick);
    story = StoryOf(question, block, tid);
  } while ((story.attempts().empty() || story.attempts(0).running()) &&
           absl::Now() < deadline);
  return story;
}

std::string StoryText(const v1::ListAttemptsResponse& story) {
  return story.attempts().empty()
             ? ""
             : AttemptText(story.attempts(0), ById(story.owners()));
}

std::string ProgressText(absl::Duration so_far,
                         const v1::ListAttemptsResponse& story) {
  if (story.attempts().empty())
    return absl::StrCat(Age(so_far), ": pinwatchd does not tell of it yet\n");
  const v1::Attempt& attempt = story.attempts(0);
  return absl::StrCat(Age(so_far), ": ", Count(attempt.succeeded_pages()),
                      " pages moved, ", Count(attempt.failed_pages()),
                      " moves failed\n", StoryText(story));
}

}  // namespace

absl::StatusOr<OfflineEnd> FollowOffline(
    const std::string& root, uint64_t block,
    const std::optional<Question>& question,
    const std::function<bool(absl::string_view)>& tell) {
  const EndingSignals signals;
  const absl::StatusOr<std::unique_ptr<Offline>> offline =
      Offline::Begin(root, block);
  if (!offline.ok()) return offline.status();
  OfflineEnd end;
  if (!*offline) {
    end.was_offline = true;
    return end;
  }
  const absl::Time begin = absl::Now();
  absl::Duration silence = kFirstTold;
  absl::Time next = begin + silence;
  std::optional<int> error;
  while (!(error = (*offline)->Wait(absl::ZeroDuration()))) {
    if (!end.signal) end.signal = signals.Wait(kTick);
    // Again and again: one that comes before the kernel has begun is lost.
    if (end.signal) {
      (*offline)->Interrupt();
      absl::SleepFor(kTick);
    } else if (question && absl::Now() >= next) {
      if (!tell(ProgressText(absl::Now() - begin,
                             StoryOf(*question, block, (*offline)->tid()))))
        end.signal = SIGPIPE;
      silence = std::min(2 * silence, kLongestSilence);
      next = absl::Now() + silence;
    }
  }
  end.error = *error;
  end.took = absl::Now() - begin;
  if (question) end.story = EndedStoryOf(*question, block, (*offline)->tid());
  return end;
}

std::string OfflineEndText(uint64_t block, const OfflineEnd& end) {
  const std::string name = absl::StrCat("memory", block);
  if (end.was_offline) return name + " is offline already\n";
  if (end.error) {
    const char* errno_name = strerrorname_np(end.error);
    return absl::StrCat(name,
                        " did not go offline: ", errno_name ? errno_name : "?",
                        " after ", Age(end.took), "\n", StoryText(end.story));
  }
  std::string text = absl::StrCat(name, " is offline, after ", Age(end.took));
  if (!end.story.attempts().empty())
    absl::StrAppend(&text, ": ", Count(end.story.attempts(0).succeeded_pages()),
                    " pages moved out");
  return text + "\n";
}

}  // namespace pinwatch
