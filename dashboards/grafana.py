# SPDX-License-Identifier: Apache-2.0
"""Turns compact descriptions of panels into the JSON of Grafana, by the catalogue of metrics."""

import re

METRIC = re.compile(r"\b(?:pinwatch|process)_\w+")
_SELECTOR = re.compile(r"(?:\b(rate|increase)\()?(\b(?:pinwatch|process)_\w+)(?:\{([^}]*)\})?(\[[^\]]*\])?")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_UNITS = {"": "short", "pages": "short", "bytes": "bytes", "seconds": "s"}
# A second of CPU time each second is one CPU.
_RATES = {"": "cps", "pages": "cps", "bytes": "Bps", "seconds": "percentunit"}
# schemaVersion that @grafana/schema 13.2.3 has; older versions of Grafana read it as well.
_SCHEMA_VERSION = 42


class Refused(Exception):
    """A description that does not agree with the catalogue."""


class Catalogue:
    """The daemon's own table of metrics."""

    def __init__(self, metrics: list[dict]):
        self.metrics = {metric["name"]: metric for metric in metrics}
        # By the names that are scraped: a histogram is several.
        self.series = {}
        for metric in metrics:
            name = metric["name"]
            if metric["type"] != "histogram":
                self.series[name] = metric
                continue
            part = metric | {"type": "counter", "unit": ""}
            self.series[f"{name}_bucket"] = part | {"labels": metric["labels"] + ["le"]}
            self.series[f"{name}_count"] = part
            self.series[f"{name}_sum"] = part | {"unit": metric["unit"]}

    def __getitem__(self, name: str) -> dict:
        if name not in self.series:
            raise Refused(f"{name} is not in the catalogue")
        return self.series[name]

    def complete(self, expression: str) -> str:
        """Adds the matchers of the variables that a metric has labels for; refuses what makes no sense."""

        def select(match: re.Match) -> str:
            function, name, given, window = match.groups()
            metric = self[name]
            if (metric["type"] == "counter") != bool(function and window):
                raise Refused(f"{name} is a {metric['type']}: {expression}")
            matchers = ['job=~"$job"', 'instance=~"$instance"']
            given = given or ""
            matchers += [f'{label}=~"${label}"' for label in ("numa_node", "mem_zone")
                         if label in metric["labels"] and not re.search(rf"\b{label}[=!]", given)]
            for label in re.findall(r"(\w+)\s*[=!]~?\"", given):
                if label not in metric["labels"]:
                    raise Refused(f"{name} has no label {label}")
            matchers += [given] if given else []
            return f"{function + '(' if function else ''}{name}{{{','.join(matchers)}}}{window or ''}"

        return _SELECTOR.sub(select, expression)

    def unit(self, expression: str) -> str:
        """The unit of an expression that does not change the dimension of its first metric."""
        name = METRIC.search(expression)[0]
        kind = self[name]["unit"]
        if kind not in _UNITS:
            raise Refused(f"{name} is a moment, give the panel a unit: {expression}")
        return _RATES[kind] if f"rate({name}" in expression else _UNITS[kind]

    def sources(self, expressions: list[str]) -> str:
        """What the catalogue says of every metric of the expressions, for a description."""
        names = dict.fromkeys(name for text in expressions for name in METRIC.findall(text))
        return "\n".join(f"- `{name}`: {self[name]['help']}" for name in names)


def thresholds(*steps) -> dict:
    """Colours from the values on: thresholds(("green", None), ("red", 1))."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]}


def one_is(good: str, bad: str) -> list[dict]:
    """The mapping of a metric that is 1 or 0."""
    return [{"type": "value", "options": {"1": {"text": good, "color": "green", "index": 0},
                                          "0": {"text": bad, "color": "red", "index": 1}}}]


_PLAIN = thresholds(("blue", None))
_LEGEND = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
_REDUCE = {"values": False, "calcs": ["lastNotNull"], "fields": ""}


def _timeseries(panel: dict) -> tuple[dict, dict]:
    bars = panel.get("bars", False)
    custom = {"drawStyle": "bars" if bars else "line", "lineWidth": 1,
              "fillOpacity": 70 if bars else 25 if panel.get("stack") else 8,
              "showPoints": "never", "spanNulls": False,
              "lineInterpolation": panel.get("interpolation", "linear"),
              "stacking": {"group": "A", "mode": "normal" if panel.get("stack") else "none"},
              "thresholdsStyle": {"mode": "line" if "thresholds" in panel else "off"}}
    return custom, {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}


def _stat(panel: dict) -> tuple[dict, dict]:
    return {}, {"colorMode": "value", "graphMode": panel.get("graph", "area"), "justifyMode": "auto",
                "textMode": "auto", "wideLayout": True, "orientation": "auto", "showPercentChange": False,
                "percentChangeColorMode": "standard", "reduceOptions": _REDUCE}


def _bargauge(_panel: dict) -> tuple[dict, dict]:
    return {}, {"displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "valueMode": "color",
                "namePlacement": "auto", "sizing": "auto", "minVizHeight": 14, "minVizWidth": 8,
                "maxVizHeight": 300, "reduceOptions": _REDUCE,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}}


def _table(panel: dict) -> tuple[dict, dict]:
    return ({"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
            {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": panel.get("sort", [])})


def _state_timeline(_panel: dict) -> tuple[dict, dict]:
    return ({"fillOpacity": 70, "lineWidth": 0},
            {"mergeValues": True, "rowHeight": 0.8, "showValue": "never", "alignValue": "left",
             "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
             "tooltip": {"mode": "single", "sort": "none"}})


_KINDS = {"timeseries": _timeseries, "stat": _stat, "bargauge": _bargauge, "table": _table,
          "state-timeline": _state_timeline}


def _panel(catalogue: Catalogue, panel: dict) -> dict:
    kind = panel["kind"]
    if kind == "text":
        return {"type": "text", "title": panel["title"], "description": panel["about"], "transparent": True,
                "options": {"mode": "markdown", "content": panel["content"]}}
    queries = panel["queries"]
    instant = panel.get("instant", kind in ("table", "bargauge"))
    targets = []
    for ref, (expression, legend) in zip("ABCDEFGH", queries):
        targets.append({"refId": ref, "datasource": _SOURCE, "editorMode": "code",
                        "expr": catalogue.complete(expression), "legendFormat": legend,
                        "range": not instant, "instant": instant,
                        "format": "table" if kind == "table" else "time_series"})
    custom, options = _KINDS[kind](panel)
    field = {"unit": panel.get("unit") or catalogue.unit(queries[0][0]), "custom": custom,
             "color": {"mode": "thresholds" if kind in ("stat", "bargauge", "state-timeline") else "palette-classic"},
             "mappings": panel.get("mappings", []), "thresholds": panel.get("thresholds", _PLAIN)}
    for key in ("min", "max", "decimals"):
        if key in panel:
            field[key] = panel[key]
    if "none" in panel:
        field["noValue"] = panel["none"]
    return {"type": kind, "title": panel["title"], "datasource": _SOURCE,
            "description": f"{panel['about']}\n\n{catalogue.sources([text for text, _ in queries])}",
            "fieldConfig": {"defaults": field, "overrides": panel.get("overrides", [])},
            "options": options, "targets": targets, "links": panel.get("links", []),
            "transformations": panel.get("transformations", [])}


def _place(catalogue: Catalogue, rows: list) -> list[dict]:
    """Lays panels out from left to right, each row below what stands above it."""
    placed, top = [], 0
    for title, panels in rows:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": top}})
        top, left, height = top + 1, 0, 0
        for description in panels:
            width, high = description["size"]
            if left + width > 24:
                top, left, height = top + height, 0, 0
            try:
                panel = _panel(catalogue, description)
            except Refused as refusal:
                raise Refused(f"panel {description['title']!r}: {refusal}") from None
            placed.append(panel | {"gridPos": {"h": high, "w": width, "x": left, "y": top}})
            left, height = left + width, max(height, high)
        top += height
    for number, panel in enumerate(placed, 1):
        panel["id"] = number
    return placed


def _label_values(name: str, label: str, metric: str, matchers: str, several: bool, every: str | None) -> dict:
    variable = {"type": "query", "name": name, "label": label, "datasource": _SOURCE,
                "query": {"query": f"label_values({metric}{matchers}, {name})", "refId": name},
                "refresh": 2, "sort": 7, "multi": several, "includeAll": several, "hide": 0}
    if several:
        variable["current"] = {"text": ["All"], "value": ["$__all"]}
    if every:
        variable["allValue"] = every
    return variable


def _variables(several_hosts: bool) -> list[dict]:
    of_host = '{job=~"$job",instance=~"$instance"}'
    return [
        {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "hide": 0},
        _label_values("job", "Job", "pinwatch_build_info", "", several_hosts, None),
        _label_values("instance", "Host", "pinwatch_build_info", '{job=~"$job"}', several_hosts, None),
        # Blocks that are offline may have no node and have no zone: All is to show them too.
        _label_values("numa_node", "Node", "pinwatch_zone_managed_pages", of_host, True, ".*"),
        _label_values("mem_zone", "Zone", "pinwatch_zone_managed_pages",
                      of_host[:-1] + ',numa_node=~"$numa_node"}', True, ".*"),
        {"type": "textbox", "name": "runbooks", "label": "Runbooks at", "query": "docs/runbooks", "hide": 0,
         "description": "Where docs/runbooks of pinwatch is served; links to runbooks begin with it.",
         "current": {"text": "docs/runbooks", "value": "docs/runbooks"}},
    ]


def _annotation(catalogue: Catalogue, name: str, color: str, expression: str, is_time: bool,
                title: str, tags: str) -> dict:
    return {"name": name, "datasource": _SOURCE, "enable": True, "iconColor": color,
            "expr": catalogue.complete(expression), "step": "15s", "useValueForTime": is_time,
            "titleFormat": title, "textFormat": "{{instance}}", "tagKeys": tags}


def dashboard(catalogue: Catalogue, board: dict, others: list[dict]) -> dict:
    """The JSON of a board; `others` are the boards it links to."""
    return {
        "uid": board["uid"], "title": board["title"], "description": board["about"],
        "tags": ["pinwatch", "memory"], "schemaVersion": _SCHEMA_VERSION, "version": 1, "editable": True,
        "graphTooltip": 1, "timezone": "browser", "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables(board["several_hosts"])},
        "annotations": {"list": [_annotation(catalogue, *annotation) for annotation in board["annotations"]]},
        "links": [{"type": "link", "title": other["title"], "url": f"/d/{other['uid']}", "icon": "dashboard",
                   "tooltip": other["about"], "includeVars": True, "keepTime": True, "asDropdown": False,
                   "targetBlank": False, "tags": []} for other in others]
                 + [{"type": "link", "title": "Runbooks", "url": "${runbooks}/README.md", "icon": "doc",
                     "tooltip": "What each alert means and what mends it", "includeVars": False,
                     "keepTime": False, "asDropdown": False, "targetBlank": True, "tags": []}],
        "panels": _place(catalogue, board["rows"]),
    }
