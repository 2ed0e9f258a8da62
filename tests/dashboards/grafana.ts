// SPDX-License-Identifier: Apache-2.0
// What a dashboard of ours may hold: Grafana's own types, and the few fields of its Prometheus plugin,
// which publishes none.
import type { AnnotationQuery, Dashboard, DataSourceRef, GraphFieldConfig, Panel, RowPanel,
  TableFieldOptions } from '@grafana/schema';
import type * as bargauge from './node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as timeline from './node_modules/@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';
import type * as table from './node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as text from './node_modules/@grafana/schema/dist/types/raw/composable/text/panelcfg/x/types.gen';
import type * as timeseries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

interface Query {
  refId: string;
  datasource: DataSourceRef;
  editorMode: 'code';
  expr: string;
  legendFormat: string;
  range: boolean;
  instant: boolean;
  format: 'time_series' | 'table';
}

interface Annotation extends Omit<AnnotationQuery, 'target'> {
  expr: string;
  step: string;
  useValueForTime: boolean;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
}

interface QueryPanel extends Omit<Panel, 'targets' | 'type'> {
  type: 'timeseries' | 'stat' | 'bargauge' | 'table' | 'state-timeline';
  targets: Query[];
}

interface TextPanel extends Omit<Panel, 'type'> {
  type: 'text';
}

export interface Board extends Omit<Dashboard, 'annotations' | 'panels'> {
  annotations: { list: Annotation[] };
  panels: Array<QueryPanel | TextPanel | RowPanel>;
}

// Options and fields of each kind of panel.
export type BarGaugeOptions = bargauge.Options;
export type BarGaugeField = Record<string, never>;
export type StatOptions = stat.Options;
export type StatField = Record<string, never>;
export type StateTimelineOptions = timeline.Options;
export type StateTimelineField = timeline.FieldConfig;
export type TableOptions = table.Options;
export type TableField = Omit<TableFieldOptions, 'cellOptions'> & { cellOptions: { type: 'auto' } };
export type TextOptions = text.Options;
export type TimeSeriesOptions = timeseries.Options;
export type TimeSeriesField = GraphFieldConfig;
