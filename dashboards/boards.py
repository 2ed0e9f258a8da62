# SPDX-License-Identifier: Apache-2.0
"""The dashboards: which panels stand where, in what words.

A query is (expression, legend). The matchers of job, instance, numa_node and mem_zone are added to each metric
that has the label; the unit is that of the first metric unless a panel gives another.
"""

from grafana import one_is, thresholds

SMALL, THIRD, HALF, WIDE = (4, 4), (8, 8), (12, 8), (24, 9)
_ZERO_IS_GOOD = thresholds(("green", None), ("orange", 1))
_RATE = "[$__rate_interval]"
_TARGET = ("Time", "__name__", "job", "instance")  # columns of every table, the same in each row
_ONLINE_MOVABLE = 'mem_zone="Movable",state="online"'
_IN_THE_WAY = "pinned_large|pinned_exact|pinned_loose|elevated|biased|kernel|hugetlb|reserved|unstable"


def _block_bytes(matchers):
    return f"pinwatch_memory_blocks{{{matchers}}} * on (job, instance) group_left () pinwatch_memory_block_size_bytes"


def _panel(kind, size, title, about, queries, **more):
    return {"kind": kind, "size": size, "title": title, "about": about, "queries": queries} | more


def _without(*columns):
    return {"id": "organize", "options": {"excludeByName": dict.fromkeys(columns, True)}}


def stat(title, about, expression, **more):
    return _panel("stat", more.pop("size", SMALL), title, about, [(expression, "")], **more)


def graph(title, about, *queries, size=HALF, **more):
    return _panel("timeseries", size, title, about, list(queries), **more)


def _runbooks(*alerts):
    lines = ["| alert | what it says |", "|---|---|"]
    lines += [f"| [{name}](${{runbooks}}/{name}.md) | {words} |" for name, words in alerts]
    return {"kind": "text", "size": (24, 3 + len(alerts)), "title": "Alerts and their runbooks",
            "about": "The variable \"Runbooks at\" says where docs/runbooks of pinwatch is served.",
            "content": "\n".join(lines)}


ANNOTATIONS = [
    # name, colour, expression, whether the value is the moment in ms, title, tags
    ("Offline failed", "red", "pinwatch_last_offline_failure_timestamp_seconds * 1000", True,
     "Offline failed", ""),
    ("Offline or online running", "blue", "pinwatch_hotplug_attempts_running > 0", False,
     "{{operation}} running", "operation"),
    ("Offline succeeded", "green", 'increase(pinwatch_offline_attempts_total{outcome="ok"}[$__rate_interval]) > 0',
     False, "Offline succeeded", "outcome"),
    ("pinwatchd started", "purple", "process_start_time_seconds * 1000", True, "pinwatchd started", ""),
]

_GLANCE = ("At a glance", [
    stat("Pinned memory", "Memory that is pinned for certain, in the nodes and zones chosen above.",
         "sum(pinwatch_pinned_bytes)"),
    stat("Pinned in ZONE_MOVABLE", "This zone exists for memory that can be moved: what is pinned here for long keeps "
         "blocks from going offline.", 'sum(pinwatch_pinned_bytes{mem_zone="Movable"})',
         thresholds=_ZERO_IS_GOOD, none="no such zone"),
    stat("Long-term in ZONE_MOVABLE", "Pages that somebody holds for long where the kernel should have moved them out "
         "first. Kernels before Linux v5.13 do not: there it is as expected.",
         'sum(pinwatch_attributed_pages_by_kind{mem_zone="Movable",kind="long_term"})', thresholds=_ZERO_IS_GOOD,
         none="no such zone"),
    stat("Possibly pinned", "Pages that read as pinned while plain references would read the same.",
         "sum(pinwatch_possible_pinned_pages)"),
    stat("Drift", "How far the kernel's count of pins and the census are apart on the worst node. Anything but 0 "
         "for long is a fault: see the runbook PinCounterDrift.", "max(abs(pinwatch_census_drift_references))",
         thresholds=_ZERO_IS_GOOD, none="not measured yet"),
    stat("Holder known", "Share of the pages that read as pinned of which pinwatch knows a holder or claimant.",
         '1 - sum(pinwatch_attributed_pages{certainty=~"unattributed|inferred"}) / '
         "clamp_min(sum(pinwatch_attributed_pages), 1)", unit="percentunit", min=0, max=1,
         thresholds=thresholds(("red", None), ("orange", 0.5), ("green", 0.9))),
    stat("Not observable", "Facts that this kernel keeps from pinwatch; their metrics are absent. The table of facts "
         "below names them.",
         'count(pinwatch_kernel_feature_info) - sum(pinwatch_kernel_feature_info{state=~"observable|by_choice"})',
         unit="short", graph="none", thresholds=_ZERO_IS_GOOD),
])

_PINNED = ("Pinned memory: how much, and where", [
    graph("Pinned, by node and zone", "Memory that is pinned for certain: the kernel's counter leaves no other "
          "reading.", ("sum by (numa_node, mem_zone) (pinwatch_pinned_bytes)", "node {{numa_node}} {{mem_zone}}"),
          stack=True, min=0),
    graph("Pinned, by migratetype", "The kind of the page blocks that pinned pages stand in. Pins in movable blocks "
          "defeat compaction.", ("sum by (migratetype) (pinwatch_pinned_bytes)", "{{migratetype}}"), stack=True, min=0),
    graph("Share of a zone that is pinned", "Pinned pages by the pages that the zone manages.",
          ("sum by (numa_node, mem_zone) (pinwatch_pinned_pages) / "
           "(sum by (numa_node, mem_zone) (pinwatch_zone_managed_pages) > 0)", "node {{numa_node}} {{mem_zone}}"),
          unit="percentunit", min=0, size=THIRD),
    graph("Possible pins", "Pages that read as pinned and cannot be told from pages with 1,024 plain references.",
          ("sum by (numa_node, mem_zone) (pinwatch_possible_pinned_pages)", "node {{numa_node}} {{mem_zone}}"),
          min=0, size=THIRD),
    _panel("bargauge", THIRD, "Pages, by what stands in them", "Every page of the chosen zones, each in one class, at "
           "its last look.", [("sort_desc(sum by (class) (pinwatch_pages))", "{{class}}")]),
])

_KERNEL = ("Pin references: the kernel's counter against the census", [
    graph("References held", "The kernel's own count is exact at any moment; the census is as old as its oldest look. "
          "They differ while pins come and go.",
          ("pinwatch_node_pinned_references", "node {{numa_node}} by the kernel"),
          ("pinwatch_census_references", "node {{numa_node}} by the census")),
    graph("Drift", "Counter less census over looks during which no counter moved. 0 is right; see the runbook "
          "PinCounterDrift.", ("pinwatch_census_drift_references", "node {{numa_node}}"),
          interpolation="stepAfter"),
    graph("Pages of devices", "ZONE_DEVICE. Their pins are in the counters and not in the census, so they make a drift "
          "above 0.", ("pinwatch_node_device_pages", "node {{numa_node}}"), interpolation="stepAfter"),
    graph("Pins taken and given back", "References a second, by the kernel's counters. Given back counts downwards.",
          (f"rate(pinwatch_node_pin_acquires_total{_RATE})", "node {{numa_node}} taken"),
          (f"-rate(pinwatch_node_pin_releases_total{_RATE})", "node {{numa_node}} given back")),
    _panel("state-timeline", HALF, "Whether the figures hold now", "Exact: the counters include what every CPU holds "
           "back. Current: no pin came or went since the node's oldest look.",
           [("pinwatch_node_counters_exact", "node {{numa_node}} counters exact"),
            ("pinwatch_census_current", "node {{numa_node}} census current")],
           mappings=[{"type": "value", "options": {"1": {"text": "yes", "color": "green", "index": 0},
                                                   "0": {"text": "no", "color": "yellow", "index": 1}}}]),
])

_HOLDERS = ("Who holds it (names: pinwatch top)", [
    graph("Attributed pages", "held: one claimant is left. shared: as many pins as claimants. one_of: fewer pins than "
          "claimants. probable: the claimant ended or its claim is old. inferred: no claim, but a process maps "
          "it and shows that it pins. unattributed: no claim to be believed.",
          ("sum by (certainty) (pinwatch_attributed_pages)", "{{certainty}}"), stack=True, min=0, size=THIRD),
    graph("Held for long or short", "long_term: RDMA, VFIO, io_uring and the like, until somebody lets go. short_term: "
          "I/O in flight. unknown: nobody is known to hold them for sure.",
          ("sum by (mem_zone, kind) (pinwatch_attributed_pages_by_kind)", "{{mem_zone}} {{kind}}"), stack=True, min=0,
          size=THIRD),
    graph("Held for longer than", "Pages held for long, by how long they have been: each line contains those below it.",
          ('sum by (older_than) (pinwatch_pin_age_pages{kind="long_term"})', "{{older_than}}"), min=0, size=THIRD),
    graph("Short pins that last", "Pages pinned for short and held for longer all the same. Direct reads that hang, "
          "or somebody who should pin for long: see the runbook ShortTermPinsOverdue.",
          ('sum by (older_than) (pinwatch_pin_age_pages{kind="short_term"})', "{{older_than}}"), min=0, size=THIRD),
    graph("Suspected leaks, and long-term pins in CMA", "Owners whose long-term pins only grow, and pages that keep the "
          "contiguous memory allocator from its memory.",
          ("sum(pinwatch_suspected_leaks)", "owners that only grow"),
          ("sum(pinwatch_cma_long_term_pages)", "pages in CMA"), min=0, size=THIRD),
    graph("Calls of pin functions", "long_term pins must leave ZONE_MOVABLE first; short_term ones, of direct reads, "
          "need not.", (f"sum by (kind) (rate(pinwatch_pin_calls_total{_RATE}))", "{{kind}}"), min=0, size=THIRD),
    graph("Pages pinned by these calls", "Pages a second, whether still held or not.",
          (f"sum by (kind) (rate(pinwatch_pin_pages_total{_RATE}))", "{{kind}}"), min=0, size=THIRD),
])

_FELT = ("What those feel who pin (pinwatch calls)", [
    graph("99 of 100 calls take less than", "Calls that pin for long, all of them. Above a second a registration was "
          "held up, by migration or by faults.",
          (f"histogram_quantile(0.99, sum by (subsystem, le) (rate(pinwatch_subsystem_pin_call_seconds_bucket"
           f'{{kind="long_term"}}{_RATE})))', "{{subsystem}}"), unit="s", min=0, size=THIRD),
    graph("Time spent in calls", "Seconds a second, of calls that were timed: of short-term ones a sample.",
          (f"sum by (subsystem) (rate(pinwatch_subsystem_pin_call_seconds_sum{_RATE}))", "{{subsystem}}"), min=0,
          size=THIRD),
    graph("Faults taken in them", "Page faults a second. A buffer that was touched before it is pinned needs none.",
          (f"sum by (subsystem, fault) (rate(pinwatch_subsystem_pin_faults_total{_RATE}))", "{{subsystem}} {{fault}}"),
          min=0, size=THIRD),
    graph("Calls, by subsystem", "Recorded calls that pinned something; of short-term ones a sample.",
          (f"sum by (subsystem) (rate(pinwatch_subsystem_pin_calls_total{_RATE}))", "{{subsystem}}"), min=0,
          size=THIRD),
    graph("Pages asked for, and pinned", "Pages a second of all calls. What lies between was refused.",
          (f"sum by (kind) (rate(pinwatch_pin_asked_pages_total{_RATE}))", "{{kind}} asked for"),
          (f"sum by (kind) (rate(pinwatch_pin_pages_total{_RATE}))", "{{kind}} pinned"), min=0, size=THIRD),
    graph("Pages not got, by subsystem", "Pages a second that recorded calls asked for and did not get.",
          (f"sum by (subsystem) (rate(pinwatch_subsystem_pin_asked_pages_total{_RATE}) - "
           f"rate(pinwatch_subsystem_pin_pages_total{_RATE}))", "{{subsystem}}"), unit="cps", min=0, size=THIRD),
    graph("Failed and partial calls", "Calls with an error, and those that pinned fewer pages than they asked for.",
          (f"sum by (kind) (rate(pinwatch_pin_failed_calls_total{_RATE}))", "{{kind}} failed"),
          (f"sum by (kind) (rate(pinwatch_pin_partial_calls_total{_RATE}))", "{{kind}} partial"), min=0, size=THIRD),
    graph("The same, by subsystem", "Of recorded calls.",
          (f"sum by (subsystem) (rate(pinwatch_subsystem_pin_failed_calls_total{_RATE}))", "{{subsystem}} failed"),
          (f"sum by (subsystem) (rate(pinwatch_subsystem_pin_partial_calls_total{_RATE}))", "{{subsystem}} partial"),
          min=0, size=THIRD),
    graph("Failed calls, by error", "ENOMEM of long-term calls: pages that would not leave ZONE_MOVABLE or CMA, or no "
          "memory. EFAULT: memory that is not there.",
          (f"sum by (kind, errno) (rate(pinwatch_pin_errors_total{_RATE}))", "{{kind}} {{errno}}"), min=0, size=THIRD),
])

_MOVES = ("What long-term calls have to move first (pinwatch calls)", [
    graph("Bytes copied", "Bytes a second that were copied since buffers lay in ZONE_MOVABLE or CMA. Discarding their "
          "content, where nobody needs it, would save them.",
          (f"sum by (subsystem, from) (rate(pinwatch_subsystem_pin_move_copied_bytes_total{_RATE})) > 0",
           "{{subsystem}} out of {{from}}"), min=0, size=THIRD),
    graph("Share of the time of these calls", "Time in rounds of moving by the time of the calls that had something "
          "to move.",
          (f"sum by (subsystem) (rate(pinwatch_subsystem_pin_move_seconds_total{_RATE})) / "
           f"(sum by (subsystem) (rate(pinwatch_subsystem_pin_moving_calls_seconds_total{_RATE})) > 0)",
           "{{subsystem}}"), unit="percentunit", min=0, max=1, size=THIRD),
    graph("Calls and rounds", "Calls a second that had something to move, and their rounds. Many rounds for a call: a "
          "page could not be taken off its list.",
          (f"sum(rate(pinwatch_subsystem_pin_moving_calls_total{_RATE}))", "calls"),
          (f"sum(rate(pinwatch_subsystem_pin_move_rounds_total{_RATE}))", "rounds"),
          ("sum(pinwatch_pin_retrying_calls)", "calls that come round and round now"), min=0, size=THIRD),
    graph("Pages, by how far they came", "Pages a second. Collected and not isolated: another had them off their list.",
          (f"sum by (step) (rate(pinwatch_subsystem_pin_move_pages_total{_RATE}))", "{{step}}"), min=0, size=THIRD),
    graph("Not moved", "Pages a second that stayed, and times there was no memory outside of ZONE_MOVABLE and CMA to "
          "move one to: the pressure has gone there.",
          (f"sum(rate(pinwatch_subsystem_pin_move_failed_pages_total{_RATE}))", "pages that stayed"),
          (f"sum(rate(pinwatch_subsystem_pin_move_no_target_total{_RATE}))", "no memory to move to"), min=0,
          size=THIRD),
    graph("On nobody's account", "Pages moved for calls whose begin was not noted, and times a hook did not run.",
          (f"sum(rate(pinwatch_pin_moves_lost_pages_total{_RATE}))", "pages"),
          (f"sum(rate(pinwatch_pin_moves_missed_total{_RATE}))", "hooks not run"), min=0, size=THIRD),
    graph("Where long-term pins land", "Pages a second that were pinned for long, by zone. What may not stay in ZONE_MOVABLE "
          "or CMA presses on the others.",
          (f"sum by (numa_node, mem_zone) (rate(pinwatch_long_term_landed_pages_total{_RATE}))",
           "node {{numa_node}} {{mem_zone}}"), min=0, size=HALF),
    graph("Where they are held", "Pages that are pinned for long now, by zone.",
          ('sum by (numa_node, mem_zone) (pinwatch_attributed_pages_by_kind{kind="long_term"})',
           "node {{numa_node}} {{mem_zone}}"), min=0, size=HALF),
])

_MIGRATION = ("Migration", [
    graph("Calls of migrate_pages, by reason", "Who asks for pages to be moved.",
          (f"sum by (reason) (rate(pinwatch_migrate_attempts_total{_RATE}))", "{{reason}}"), min=0, size=THIRD),
    graph("Pages moved, by reason", "Pages a second that migration moved.",
          (f"sum by (reason) (rate(pinwatch_migrate_succeeded_pages_total{_RATE}))", "{{reason}}"),
          min=0, size=THIRD),
    graph("Pages not moved, by reason", "Pages a second that migration could not move. memory_hotplug counts a page "
          "again with each round.",
          (f"sum by (reason) (rate(pinwatch_migrate_failed_pages_total{_RATE}))", "{{reason}}"), min=0, size=THIRD),
    graph("Share that failed, by reason", "Pages not moved by all pages tried; no line where none was tried. Above "
          "20 % for long: see the runbook MigrationFailureRatioHigh.",
          (f"sum by (reason) (rate(pinwatch_migrate_failed_pages_total{_RATE})) / "
           f"(sum by (reason) (rate(pinwatch_migrate_failed_pages_total{_RATE}) + "
           f"rate(pinwatch_migrate_succeeded_pages_total{_RATE})) > 0)", "{{reason}}"),
          unit="percentunit", min=0, max=1, size=HALF,
          thresholds=thresholds(("transparent", None), ("orange", 0.2))),
    graph("Transparent huge pages", "Huge pages a second that were moved whole, could not be moved, or were split.",
          (f"sum(rate(pinwatch_migrate_thp_succeeded_total{_RATE}))", "moved whole"),
          (f"sum(rate(pinwatch_migrate_thp_failed_total{_RATE}))", "not moved"),
          (f"sum(rate(pinwatch_migrate_thp_split_total{_RATE}))", "split"),
          (f"sum(rate(pinwatch_migrate_large_split_total{_RATE}))", "large folios split"), min=0),
    graph("Why pages stayed", "Pages a second that did not move, by what their references say. Not classified: too many "
          "in one call, or put back by the kernel before anybody could look. pinwatch migrations names pages and holders.",
          (f"sum by (why) (rate(pinwatch_migrate_failed_pages_by_why_total{_RATE})) > 0", "{{why}}"),
          min=0, size=THIRD),
    graph("Pages not moved, by zone", "Pages a second that migration could not move, by where the first folio of each "
          "call stood; the others mostly stood there, too.",
          (f"sum by (numa_node, mem_zone) (rate(pinwatch_migrate_first_folio_failed_pages_total{_RATE}))",
           "node {{numa_node}} {{mem_zone}}"), min=0, size=THIRD),
    graph("Pages moved, by zone", "Pages a second that migration moved, by where the first folio of each call stood.",
          (f"sum by (numa_node, mem_zone) (rate(pinwatch_migrate_first_folio_succeeded_pages_total{_RATE}))",
           "node {{numa_node}} {{mem_zone}}"), min=0, size=THIRD),
    graph("Calls of migrate_pages, by zone", "By where the first folio of each call stood.",
          (f"sum by (numa_node, mem_zone) (rate(pinwatch_migrate_first_folio_calls_total{_RATE}))",
           "node {{numa_node}} {{mem_zone}}"), min=0, size=THIRD),
    graph("Ranges wanted as a whole", "Attempts a second of CMA, or for huge pages of 1 GiB, by outcome. EBUSY: a page in "
          "the range did not move; pinwatch migrations names it.",
          (f"sum by (outcome) (rate(pinwatch_contig_range_attempts_total{_RATE}))", "{{outcome}}"), min=0, size=HALF),
    graph("Time spent on ranges", "Seconds a second that went into having ranges of memory, or into failing to.",
          (f"sum(rate(pinwatch_contig_range_seconds_sum{_RATE}))", "time"), unit="s", min=0, size=HALF),
    graph("CMA areas", "Allocations a second from areas of the contiguous memory allocator, what failed of them, and places "
          "in an area that could not be had since a page there did not move. Kernels with CMA only.",
          (f"sum by (area, outcome) (rate(pinwatch_cma_allocations_total{_RATE}))", "{{area}} {{outcome}}"),
          (f"sum by (area) (rate(pinwatch_cma_busy_places_total{_RATE}))", "{{area}} busy places"), min=0, size=HALF),
    graph("Memory asked of CMA", "Pages a second, of 4 KiB.",
          (f"sum by (area, outcome) (rate(pinwatch_cma_allocation_pages_total{_RATE}))", "{{area}} {{outcome}}"),
          min=0, size=HALF),
    graph("Memory in one piece", "What failed of having it, a second, by /proc/vmstat: compactions by who wants memory, "
          "huge pages for hugetlbfs (not those of 1 GiB) or at a page fault, memory of CMA.",
          (f'sum by (what) (rate(pinwatch_high_order_total{{outcome="failed"}}{_RATE}))', "{{what}} failed"),
          (f'sum by (what) (rate(pinwatch_high_order_total{{outcome="ok"}}{_RATE}))', "{{what}}"),
          min=0, size=HALF),
    graph("Pins keep from being huge pages", "Ranges of 2 MiB in which pages smaller than that are pinned, by zone: no huge "
          "page can be had there. pinwatch migrations names who holds most.",
          ("sum by (numa_node, mem_zone) (pinwatch_pinned_huge_ranges)", "node {{numa_node}} {{mem_zone}}"),
          min=0, size=HALF),
    graph("Time of a call, 99 of 100", "How long migrate_pages took, by reason.",
          (f"histogram_quantile(0.99, sum by (reason, le) (rate(pinwatch_migrate_call_seconds_bucket{_RATE})))",
           "{{reason}}"), unit="s", min=0, size=THIRD),
    graph("Not measured, not listed", "Calls whose begin was not seen, and times that a page was not listed as there "
          "were many. Both are counted all the same.",
          (f"sum(rate(pinwatch_migrate_calls_unmeasured_total{_RATE}))", "calls not measured"),
          (f"sum(rate(pinwatch_migrate_failures_unlisted_total{_RATE}))", "pages not listed"), min=0, size=THIRD),
])

_CENSUS = ("The census: its age and its cost", [
    graph("Age of the oldest look", "How old the oldest part of a zone's census figures is. A large host takes long "
          "to come around within the CPU share that it may use.",
          ("time() - pinwatch_census_oldest_look_timestamp_seconds", "node {{numa_node}} {{mem_zone}}"),
          unit="s", min=0, size=THIRD),
    graph("CPU time of the census", "Share of one CPU; --census.cpu-percent bounds what nobody asked for.",
          (f"rate(pinwatch_census_cpu_seconds_total{_RATE})", "census"), min=0, size=THIRD),
    graph("Looks at memory blocks", "ok, absent (no struct pages there) or changed (went offline under the look).",
          (f"sum by (result) (rate(pinwatch_census_looks_total{_RATE}))", "{{result}}"), min=0, size=THIRD),
    graph("Pages and steps of the census", "A free range or a large folio is one step, whatever its pages.",
          (f"rate(pinwatch_census_pages_total{_RATE})", "pages"),
          (f"rate(pinwatch_census_steps_total{_RATE})", "steps"), min=0),
    graph("Since the drift was measured", "The drift is measured only when no counter moved during the looks: on a "
          "busy node that may be rare.",
          ("time() - pinwatch_census_drift_timestamp_seconds", "node {{numa_node}}"), unit="s", min=0),
])

_DAEMON = ("pinwatchd itself", [
    _panel("state-timeline", HALF, "Collectors", "Whether each collector could read its figures the last time; see "
           "the runbook PinwatchNotCovering.", [("pinwatch_collector_success", "{{collector}}")],
           mappings=one_is("ok", "failed")),
    _panel("table", HALF, "Facts and what this kernel allows", "The metrics of a fact that is not observable are "
           "absent. pinwatch status gives the reason.", [("pinwatch_kernel_feature_info", "")],
           transformations=[_without("Value", *_TARGET)]),
    graph("Lost or left out", "What pinwatch counts of its own gaps. Skipped calls are sampled away on purpose; of "
          "the others see the runbook PinwatchSamplesLost.",
          (f"sum by (cause) (rate(pinwatch_pin_calls_unclaimed_total{_RATE}))", "calls without a claim: {{cause}}"),
          (f"sum(rate(pinwatch_pin_pages_unclaimed_total{_RATE}))", "pages without a claim"),
          (f"sum(rate(pinwatch_pin_calls_skipped_total{_RATE}))", "calls skipped by sampling"),
          (f"sum(rate(pinwatch_pin_calls_unmeasured_total{_RATE}))", "long-term calls not timed"),
          (f"sum(rate(pinwatch_pin_errors_uncounted_total{_RATE}))", "errors not counted"),
          (f"sum(rate(pinwatch_hotplug_stories_lost_total{_RATE}))", "stories of attempts lost"),
          (f"sum(rate(pinwatch_failed_scrapes_total{_RATE}))", "scrapes failed"), min=0),
    graph("Series left out", "Series beyond the limit of one scrape; see the runbook PinwatchSeriesCapped.",
          ("pinwatch_series_dropped", "series"), min=0, size=(6, 8)),
    graph("Age of the snapshot", "How old the figures were when scraped. Growing means the daemon's loop stands.",
          ("time() - pinwatch_snapshot_timestamp_seconds", "snapshot"), unit="s", min=0, size=(6, 8)),
    graph("CPU time of pinwatchd", "Share of one CPU, the census included.",
          (f"rate(process_cpu_seconds_total{_RATE})", "pinwatchd"), min=0, size=THIRD),
    graph("Memory of pinwatchd", "Resident memory, and the claim tables that the kernel keeps for it.",
          ("process_resident_memory_bytes", "resident"), ("pinwatch_claim_bytes", "claim tables"), min=0, size=THIRD),
    graph("Time a collector takes", "How long each took the last time.",
          ("pinwatch_collector_duration_seconds", "{{collector}}"), min=0, size=THIRD),
    graph("CPU time of the hooks", "Share of one CPU that the hooks on pin functions cost the host, by the calls counted; "
          "--hooks.cpu-percent bounds it.",
          (f"rate(pinwatch_hook_cost_seconds_total{_RATE})", "hooks"), min=0, size=THIRD),
    graph("Recorded of short-term calls", "all: the first of each second, then a sample. sampled, then off: to keep the "
          "hooks within their budget; see the runbook PinwatchHoldsBack.",
          ("pinwatch_governor_stage", "{{stage}}"), min=0, max=1, size=THIRD),
    stat("Owners", "Entries of the owner table: processes by call site and kind of pin.", "pinwatch_pin_owners"),
    stat("Claim tables", "Memory blocks that have a table of claims.", "pinwatch_claim_chunks"),
    stat("Running for", "Since pinwatchd started.", "time() - process_start_time_seconds", unit="s", graph="none"),
    stat("Open files", "Share of the file descriptors that pinwatchd may open.",
         "process_open_fds / process_max_fds", unit="percentunit",
         thresholds=thresholds(("green", None), ("orange", 0.8))),
    stat("Moves long-term pins", "1 if the kernel moves pages out of ZONE_MOVABLE and CMA before it pins them for long.",
         "pinwatch_kernel_moves_long_term_pins", graph="none"),
    stat("Threads", "Threads of pinwatchd.", "process_threads"),
    stat("Paused", "1 while no hook of pinwatchd is attached, by order.", "pinwatch_paused", thresholds=_ZERO_IS_GOOD),
    stat("Paused so long", "Time without hooks in the range shown: what they tell is not known of it.",
         "increase(pinwatch_paused_seconds_total[$__range])", unit="s", graph="none"),
    stat("Claim gap", "Seconds of this range in which pins were not followed although claims were kept: paused, or "
         "without pinwatchd where what it had attached was gone.",
         "increase(pinwatch_claim_gap_seconds_total[$__range])", unit="s", graph="none"),
    _panel("table", SMALL, "Version", "What pinwatchd was built from.", [("pinwatch_build_info", "")],
           transformations=[_without("Value", "compiler", "libbpf", *_TARGET)]),
])

_READY = ("At a glance", [
    stat("Removable zone", "Memory in blocks that are online in ZONE_MOVABLE: what hot-remove can hope for.",
         f"sum({_block_bytes(_ONLINE_MOVABLE)})", unit="bytes", none="no such zone"),
    stat("Pinned in it", "Pins for long in ZONE_MOVABLE keep its blocks from going offline.",
         'sum(pinwatch_pinned_bytes{mem_zone="Movable"})', thresholds=_ZERO_IS_GOOD, none="no such zone"),
    stat("Attempts running", "Attempts to take a memory block offline that are under way.",
         'sum(pinwatch_hotplug_attempts_running{operation="offline"})', instant=True, graph="none"),
    stat("The longest runs for", "0 when none runs. The kernel may try for ever: see the runbook "
         "MemoryOfflineDoesNotEnd.",
         "max((time() - pinwatch_longest_running_offline_start_timestamp_seconds) or "
         'pinwatch_hotplug_attempts_running{operation="offline"} * 0)', unit="s", instant=True, graph="none",
         thresholds=thresholds(("green", None), ("orange", 60), ("red", 600))),
    stat("Failed", "Offline attempts that failed in the time range shown; see the runbook MemoryHotRemoveBlocked.",
         'sum(increase(pinwatch_offline_attempts_total{outcome!="ok"}[$__range]))', instant=True, decimals=0,
         graph="none", thresholds=_ZERO_IS_GOOD),
    stat("Last failure", "When an offline attempt last failed, since pinwatchd started.",
         "max(pinwatch_last_offline_failure_timestamp_seconds) * 1000", unit="dateTimeFromNow", instant=True,
         graph="none", none="none"),
])

_ATTEMPTS = ("Attempts", [
    graph("Offline attempts that ended, by outcome", "EBUSY: pages could not be isolated or moved. EINVAL: the block "
          "cannot go at all. EINTR: somebody gave up. pinwatch attempts tells who asked, and what was in the way.",
          (f"sum by (instance, outcome) (increase(pinwatch_offline_attempts_total{_RATE}))",
           "{{instance}} {{outcome}}"), bars=True, stack=True, min=0),
    graph("Online attempts that ended, by outcome", "Blocks brought back online.",
          (f"sum by (instance, outcome) (increase(pinwatch_online_attempts_total{_RATE}))",
           "{{instance}} {{outcome}}"), bars=True, stack=True, min=0),
    graph("Offline attempts that failed, by reason", "The kernel's own reason, by the step that failed. "
          "unmovable_page: pinwatch attempts names the page. interrupted: the asker gave up while pages stayed.",
          (f"sum by (instance, reason) (increase(pinwatch_offline_failures_total{_RATE}))",
           "{{instance}} {{reason}}"), bars=True, stack=True, min=0, size=THIRD),
    graph("Pages in their way, by why they stayed", "Pages that the kernel met in the way of attempts that failed, "
          "each once an attempt. met, not told: times it met one of which nothing more is known.",
          (f"sum by (instance, why) (increase(pinwatch_offline_blocker_pages_total{_RATE}))", "{{instance}} {{why}}"),
          (f"sum by (instance) (increase(pinwatch_offline_blockers_lost_total{_RATE}))",
           "{{instance}} met, not told"), bars=True, stack=True, min=0, size=THIRD),
    graph("Time of offlines, by step", "What attempts spent in the kernel's steps, those under way too.",
          (f"sum by (instance, step) (increase(pinwatch_offline_seconds_total{_RATE}))", "{{instance}} {{step}}"),
          unit="s", bars=True, stack=True, min=0, size=THIRD),
    graph("Attempts running", "Attempts under way, offline and online.",
          ("sum by (instance, operation) (pinwatch_hotplug_attempts_running)", "{{instance}} {{operation}}"),
          interpolation="stepAfter", min=0, size=THIRD),
    graph("How long the longest offline runs", "0 when none runs.",
          ("(time() - pinwatch_longest_running_offline_start_timestamp_seconds) or "
           'sum without (operation) (pinwatch_hotplug_attempts_running{operation="offline"}) * 0', "{{instance}}"),
          unit="s", min=0, size=THIRD, thresholds=thresholds(("transparent", None), ("red", 600))),
    _panel("table", THIRD, "Outcomes in the time range shown", "Offline attempts by host and outcome.",
           [("sum by (instance, outcome) (increase(pinwatch_offline_attempts_total[$__range]))", "")], decimals=0,
           transformations=[{"id": "groupingToMatrix", "options": {
               "columnField": "outcome", "rowField": "instance", "valueField": "Value"}}]),
])

_BLOCKS = ("Memory blocks", [
    graph("Memory, by verdict", "The size of memory blocks by what would become of an attempt to take them offline.",
          ("sum by (verdict) (pinwatch_memory_block_verdict_bytes)", "{{verdict}}"),
          stack=True, min=0, interpolation="stepAfter", size=THIRD),
    graph("Blocks of zone Movable that would not go", "By what keeps them; pinwatch blocks names them.",
          ('sum by (instance, verdict) (pinwatch_memory_block_verdicts{mem_zone="Movable",verdict=~"blocked_.*"})',
           "{{instance}} {{verdict}}"),
          stack=True, min=0, interpolation="stepAfter", size=THIRD),
    graph("Memory that could be taken offline", "By estimate, while all else stays: what has to move must find room.",
          ("sum by (instance, numa_node) (pinwatch_removable_bytes)", "{{instance}} node {{numa_node}}"),
          min=0, interpolation="stepAfter", size=THIRD),
    graph("Blocks, by state", "Memory blocks by what the kernel says of them.",
          ("sum by (instance, state) (pinwatch_memory_blocks)", "{{instance}} {{state}}"),
          stack=True, min=0, interpolation="stepAfter", size=THIRD),
    graph("Memory, by zone and state", "The size of these blocks. Zone none: the block spans zones, or is offline.",
          (f"sum by (mem_zone, state) ({_block_bytes('')})", "{{mem_zone}} {{state}}"),
          unit="bytes", stack=True, min=0, interpolation="stepAfter", size=THIRD),
    _panel("table", THIRD, "Blocks now", "By host, node, zone and state.",
           [("sum by (instance, numa_node, mem_zone, state) (pinwatch_memory_blocks)", "")],
           transformations=[{"id": "organize", "options": {
               "excludeByName": {"Time": True}, "renameByName": {
                   "instance": "Host", "numa_node": "Node", "mem_zone": "Zone", "state": "State", "Value": "Blocks"},
               "indexByName": {"instance": 0, "numa_node": 1, "mem_zone": 2, "state": 3, "Value": 4}}}]),
])

_WAY = ("What is in the way in ZONE_MOVABLE", [
    graph("Pinned, by host and node", "Memory pinned for certain in ZONE_MOVABLE. pinwatch explain memoryN names who.",
          ('sum by (instance, numa_node) (pinwatch_pinned_bytes{mem_zone="Movable"})',
           "{{instance}} node {{numa_node}}"), min=0, size=THIRD),
    graph("Pages that may not move, by class", "pinned_large and pinned_exact read as pins, pinned_loose and elevated "
          "have references left over, biased is used by network drivers, kernel is the kernel's own.",
          (f'sum by (class) (pinwatch_pages{{mem_zone="Movable",class=~"{_IN_THE_WAY}"}})', "{{class}}"),
          min=0, size=THIRD),
    graph("Attributed pages", "How much is known of who holds what reads as pinned in ZONE_MOVABLE.",
          ('sum by (certainty) (pinwatch_attributed_pages{mem_zone="Movable"})', "{{certainty}}"),
          stack=True, min=0, size=THIRD),
    graph("Migration for hot-remove", "Pages a second moved out of blocks that go offline. One that does not move is "
          "tried, and counted, again and again.",
          (f'sum by (instance) (rate(pinwatch_migrate_succeeded_pages_total{{reason="memory_hotplug"}}{_RATE}))',
           "{{instance}} moved"),
          (f'sum by (instance) (rate(pinwatch_migrate_failed_pages_total{{reason="memory_hotplug"}}{_RATE}))',
           "{{instance}} not moved"), min=0),
    graph("Migration for long-term pins", "Pages a second moved out of ZONE_MOVABLE before they were pinned for long; "
          "a page not moved makes the pin fail.",
          (f'sum by (instance) (rate(pinwatch_migrate_succeeded_pages_total{{reason="longterm_pin"}}{_RATE}))',
           "{{instance}} moved"),
          (f'sum by (instance) (rate(pinwatch_migrate_failed_pages_total{{reason="longterm_pin"}}{_RATE}))',
           "{{instance}} not moved"), min=0),
    _panel("bargauge", HALF, "Hosts with most memory pinned in ZONE_MOVABLE", "The first 20. Click for the host.",
           [('topk(20, sum by (job, instance) (pinwatch_pinned_bytes{mem_zone="Movable"}))', "{{instance}}")],
           links=[{"type": "link", "title": "Pins of this host", "icon": "dashboard", "tooltip": "", "tags": [],
                   "url": "/d/pinwatch-host?var-job=${__field.labels.job}&var-instance=${__field.labels.instance}",
                   "asDropdown": False, "includeVars": False, "keepTime": True, "targetBlank": False}]),
    _panel("state-timeline", HALF, "Whether attempts are observed", "The collectors that this page needs; see the "
           "runbook PinwatchNotCovering.",
           [('pinwatch_collector_success{collector=~"hotplug|blocks|migrations|census"}',
             "{{instance}} {{collector}}")], mappings=one_is("ok", "failed")),
])

BOARDS = [
    {"uid": "pinwatch-host", "title": "Host memory pins", "several_hosts": False, "annotations": ANNOTATIONS,
     "about": "Which memory of a host is pinned, where and since when, what migration achieves, and what pinwatchd "
              "itself costs and misses.",
     "rows": [_GLANCE, _PINNED, _KERNEL, _HOLDERS, _FELT, _MOVES, _MIGRATION, _CENSUS, _DAEMON,
              ("Runbooks", [_runbooks(
                  ("PinwatchDown", "the host is not watched"),
                  ("PinwatchNotCovering", "a collector fails, or the snapshot stands still"),
                  ("PinwatchFactNotObservable", "the kernel keeps a fact to itself"),
                  ("PinwatchPaused", "somebody ordered a pause, and it goes on"),
                  ("PinwatchHoldsBack", "pin functions are let go, as they cost too much"),
                  ("PinwatchSamplesLost", "pins were taken that nobody can be named for"),
                  ("PinwatchSeriesCapped", "series were left out"),
                  ("MigrationFailureRatioHigh", "pages do not move"),
                  ("LongTermPinsInMovable", "pages are held for long where none should be"),
                  ("LongTermPinsFail", "long-term pins fail"),
                  ("LongTermPinDoesNotEnd", "a call that pins comes round and round"),
                  ("ContiguousMemoryFails", "ranges or huge pages are not to be had"),
                  ("LongTermPinsInCma", "pages are held for long where none should be"),
                  ("ShortTermPinsOverdue", "pins meant to be short last"),
                  ("PinLeakSuspected", "somebody pins more and more"),
                  ("PinCounterDrift", "counter and census disagree"))])]},
    {"uid": "pinwatch-hot-remove", "title": "Hot-remove readiness", "several_hosts": True,
     "annotations": ANNOTATIONS,
     "about": "Whether memory can be taken offline, how attempts ended, and what is in the way.",
     "rows": [_READY, _ATTEMPTS, _BLOCKS, _WAY,
              ("Runbooks", [_runbooks(
                  ("MemoryHotRemoveBlocked", "offlines fail again and again"),
                  ("MemoryOfflineDoesNotEnd", "an offline runs and runs"),
                  ("MovableMemoryKeptInPlace", "blocks that should go would not"),
                  ("MigrationFailureRatioHigh", "pages do not move"),
                  ("PinwatchNotCovering", "a collector fails, or the snapshot stands still"))])]},
]
