// `knowlm export`: records in every format, safe whatever stands in them, and back again; `knowlm eval` with what it says
// of mistakes. No model is asked.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertClearFailure, knowlm, remove } from './lib/studio.mjs';

const TEXT = '张三 <b>founded</b> =SUM(A1), "Acme" 🙂 Ltd.';
const RECORDS = [
  {
    id: 'a',
    text: TEXT,
    entities: [
      { type: '人物', text: '张三', start: 0, end: 2 },
      { type: 'company', text: '=SUM(A1)', start: 18, end: 26 },
    ],
    relations: [
      { relation: 'founder', head: '=SUM(A1)', tail: '张三', head_start: 18, head_end: 26, tail_start: 0, tail_end: 2 },
    ],
    events: [
      {
        type: 'founding',
        trigger: 'founded',
        trigger_start: 6,
        trigger_end: 13,
        arguments: [{ role: 'who', text: '张三', start: 0, end: 2 }],
      },
    ],
    issues: [
      { task: 'ner', kind: 'not_in_text', words: 'Zoe, person', record: { type: 'person', text: 'Zoe' } },
    ],
  },
  { id: 2, text: 'Nothing here.', entities: [], relations: [], events: [], issues: [] },
  { id: 3, text: 'Broken.', error: 'ner: it failed' },
];
const GOLD = [
  {
    id: 'a',
    entities: [
      { type: '人物', text: '张三' },
      { type: 'product', text: '=SUM(A1)' },
    ],
  },
  { id: 2 },
];

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), 'knowlm-export-'))));
after(() => remove(folder));

const at = (name) => join(folder, name);
const write = (name, rows) => {
  writeFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return at(name);
};
const to = async (format, ...more) => {
  const done = await knowlm(['export', write('found.jsonl', RECORDS), '--to', format, ...more]);
  assert.equal(done.code, 0, done.stderr);
  return done;
};

test('JSON lines have every record with who found it, and can be exported again', async () => {
  const { stdout, stderr } = await to('jsonl', '--gold', write('gold.jsonl', GOLD));
  assert.match(stderr, /1 texts failed/);
  const [first, second] = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(
    first.entities.map((e) => [e.text, e.type, e.gold, e.origins]),
    [
      ['张三', '人物', 'right', ['tuned']],
      ['=SUM(A1)', 'company', 'wrong', ['tuned']],
      ['=SUM(A1)', 'product', 'added', ['you']],
    ],
  );
  assert.equal(first.not_in_text[0].text, 'Zoe');
  assert.equal(second.id, 2);
  writeFileSync(at('again.jsonl'), stdout);
  const again = await knowlm(['export', at('again.jsonl'), '--to', 'gold']);
  assert.deepEqual(
    JSON.parse(again.stdout.split('\n')[0]).entities.map((e) => e.text),
    ['张三', '=SUM(A1)'],
  );
});

test('a table runs nothing in a spreadsheet', async () => {
  await to('csv', '--out', at('found.csv'), '--bom');
  const table = readFileSync(at('found.csv'), 'utf8');
  assert.ok(table.startsWith('\ufeffid,kind,type,text,'));
  assert.match(table, /a,entity,company,'=SUM\(A1\),18,26,/);
  for (const row of table.split('\r\n')) for (const cell of row.split(',')) assert.doesNotMatch(cell, /^"?[=+@-]/);
  const utf16 = await to('csv', '--offsets', 'bytes');
  assert.match(utf16.stdout, /a,entity,人物,张三,0,6,/);
});

test('brat has a text and its annotations for each, in a new folder', async () => {
  const out = at('brat');
  await to('brat', '--out', out);
  assert.deepEqual(readdirSync(out).sort(), ['2.ann', '2.txt', 'a.ann', 'a.txt', 'annotation.conf']);
  assert.equal(readFileSync(join(out, 'a.txt'), 'utf8'), TEXT);
  const lines = readFileSync(join(out, 'a.ann'), 'utf8').trim().split('\n');
  for (const line of lines.filter((l) => l.startsWith('T'))) {
    const [, place, words] = line.split('\t');
    const [, start, end] = place.split(' ').map(Number);
    assert.equal([...TEXT].slice(start, end).join(''), words);
  }
  assert.ok(lines.some((line) => line.startsWith('R1\tfounder Arg1:T2 Arg2:T1')));
  assertClearFailure(await knowlm(['export', at('found.jsonl'), '--to', 'brat', '--out', out]), /has files in it/);
  assertClearFailure(await knowlm(['export', at('found.jsonl'), '--to', 'brat']), /--out/);
});

test('a page and a picture hold names as names', async () => {
  const page = (await to('html', '--title', '<i>March</i>')).stdout;
  assert.match(page, /<title>&lt;i&gt;March&lt;\/i&gt;<\/title>/);
  assert.doesNotMatch(page, /<b>founded|<script|https?:\/\//);
  assert.match(page, /<svg class="graph"/);
  assert.match((await to('svg')).stdout, /^<svg xmlns=/);
});

test('graphs go out for graph databases and tools', async () => {
  assert.match((await to('turtle')).stdout, /<urn:knowlm:relation:founder> a rdf:Property/);
  assert.match((await to('cypher')).stdout, /MERGE \(a\)-\[r:`founder` \{id: 'e[0-9a-f]{16}'\}\]->\(b\)/);
  assert.match((await to('graphml')).stdout, /<data key="edge_relation">founder<\/data>/);
  assert.match((await to('nodes')).stdout, /,张三,人物,entity,/);
  assert.match((await to('edges')).stdout, /'=SUM\(A1\),founder,张三,tuned/);
  assert.match((await to('markdown', '--language', 'zh')).stdout, /\| 类型 \| 抽取结果 \|/);
  const doccano = JSON.parse((await to('doccano')).stdout.split('\n')[0]);
  assert.equal(doccano.relations[0].type, 'founder');
});

test('what cannot be exported is said in a sentence', async () => {
  const run = (...args) => knowlm(['export', ...args]);
  assertClearFailure(await run(at('nowhere.jsonl'), '--to', 'csv'), /nowhere\.jsonl cannot be read/);
  writeFileSync(at('bad.jsonl'), '{"id": 1, "text": "x"}\n{"text": 7}\n');
  assertClearFailure(await run(at('bad.jsonl'), '--to', 'csv'), /line 2 is not one of records/);
  const found = write('found.jsonl', RECORDS);
  assertClearFailure(await run(found, '--to', 'pdf'), /pdf/);
  assertClearFailure(await run(found, '--to', 'csv', '--out', found), /is the input/);
  assert.equal(readFileSync(found, 'utf8').split('\n').length, 4, 'and nothing was written');
});

test('eval says which types are confused, and writes mistakes with their texts', async () => {
  const pred = write('pred.jsonl', RECORDS.slice(0, 2));
  const gold = write('gold.jsonl', GOLD);
  const args = ['eval', '--task', 'ner', '--gold', gold, '--pred', pred];
  const report = await knowlm([...args, '--errors', at('errors.jsonl'), '--against', pred, '--json']);
  assert.equal(report.code, 0, report.stderr);
  const { entities } = JSON.parse(report.stdout).scores;
  assert.deepEqual(entities.confusion, [{ gold: 'product', predicted: 'company', count: 1 }]);
  assert.equal(entities.against.agreement.f1, 1);
  const errors = readFileSync(at('errors.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(errors, [
    { entities: { missed: ['=SUM(A1), product'], wrong: ['=SUM(A1), company'] }, id: 'a', text: TEXT },
  ]);
  assert.match((await knowlm(args)).stdout, /product taken for company: 1/);
  const failed = write('failed.jsonl', [RECORDS[0], { id: 2, error: 'no' }]);
  assert.match((await knowlm([...args, '--against', failed])).stdout, /1 failed in the other/);
});
