// SPDX-License-Identifier: Apache-2.0
// Holds dashboards to a JSON schema made from Grafana's own types. Prints what does not fit.
// usage: node validate.js DASHBOARD.json...     exit status: 0 all fit, 1 some do not, 64 no dashboard given
'use strict';
const fs = require('fs');
const path = require('path');
const Ajv = require('ajv');
const { createGenerator } = require('ts-json-schema-generator');

const KINDS = {
  bargauge: 'BarGauge', stat: 'Stat', 'state-timeline': 'StateTimeline', table: 'Table', text: 'Text',
  timeseries: 'TimeSeries',
};

const ajv = new Ajv({ strict: false, allErrors: false });
const checks = new Map();

// Types are made into a schema when they are first asked for: that takes a second each.
function check(type) {
  if (!checks.has(type)) {
    const generator = createGenerator({
      path: path.join(__dirname, 'grafana.ts'), tsconfig: path.join(__dirname, 'tsconfig.json'), type,
      skipTypeCheck: true,
      expose: 'none', // Grafana has several types of one name
    });
    checks.set(type, ajv.compile(generator.createSchema(type)));
  }
  return checks.get(type);
}

function problems(type, value, where) {
  const fits = check(type);
  if (fits(value)) return [];
  return fits.errors.map((e) => `${where}${e.instancePath}: ${e.message} ${JSON.stringify(e.params)}`);
}

function problemsOfBoard(board) {
  const found = problems('Board', board, '');
  for (const panel of board.panels ?? []) {
    const kind = KINDS[panel.type];
    if (!kind) continue; // a row, or refused above
    const where = `panel ${panel.title}`;
    found.push(...problems(`${kind}Options`, panel.options, `${where}/options`));
    if (panel.type !== 'text')
      found.push(...problems(`${kind}Field`, panel.fieldConfig?.defaults?.custom ?? null, `${where}/custom`));
  }
  return found;
}

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error('usage: node validate.js DASHBOARD.json...');
  process.exit(64);
}
let bad = false;
for (const file of files) {
  for (const problem of problemsOfBoard(JSON.parse(fs.readFileSync(file, 'utf8')))) {
    console.error(`${file}: ${problem}`);
    bad = true;
  }
}
process.exit(bad ? 1 : 0);
