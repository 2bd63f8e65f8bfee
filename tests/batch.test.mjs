// `knowlm extract` and `knowlm eval` on the real model: the form of the output, long and empty texts, resuming after a
// kill, and what is refused.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertClearFailure, binary, knowlm, remove, root } from './lib/studio.mjs';

const WIKIPEDIA = join(root, 'assets/schemas/wikipedia-en.json');
const PEOPLE = join(root, 'assets/schemas/people-places-organizations-en.json');

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), 'knowlm-batch-'))));
after(() => remove(folder));

const at = (name) => join(folder, name);
const write = (name, content) => {
  const text = typeof content === 'string' ? content : content.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(at(name), text);
  return at(name);
};
const lines = (path) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line)
    .map((line) => JSON.parse(line));
const slice = (text, start, end) => [...text].slice(start, end).join('');

/** The names of a record's fields, without one that may be missing and its certainty, which is looked at here. */
const fields = (record) => {
  assert.ok(['sure', 'check'].includes(record.certainty), record.certainty);
  return Object.keys(record).filter((key) => !['found', 'certainty', 'agreement'].includes(key));
};

/** Every line has the form of the contract, and what is found stands where it says. */
function assertForm(rows) {
  for (const row of rows) {
    for (const key of ['entities', 'relations', 'events', 'issues']) assert.ok(Array.isArray(row[key]), key);
    for (const entity of row.entities) {
      assert.deepEqual(fields(entity), ['type', 'text', 'start', 'end']);
      assert.equal(slice(row.text, entity.start, entity.end), entity.text);
    }
    for (const relation of row.relations) {
      const places = ['head_start', 'head_end', 'tail_start', 'tail_end'];
      assert.deepEqual(fields(relation), ['relation', 'head', 'tail', ...places]);
      assert.equal(slice(row.text, relation.head_start, relation.head_end), relation.head);
      assert.equal(slice(row.text, relation.tail_start, relation.tail_end), relation.tail);
    }
    for (const event of row.events) {
      assert.deepEqual(fields(event), ['type', 'trigger', 'trigger_start', 'trigger_end', 'arguments']);
      assert.equal(slice(row.text, event.trigger_start, event.trigger_end), event.trigger);
      for (const argument of event.arguments) {
        assert.deepEqual(fields(argument), ['role', 'text', 'start', 'end']);
        assert.equal(slice(row.text, argument.start, argument.end), argument.text);
      }
    }
  }
}

const CURIE = 'Marie Curie was born in Warsaw in 1867 and moved to Paris in 1891.';
const FILLER = [
  'Niels Bohr worked with Ernest Rutherford at the University of Manchester.',
  'Albert Einstein moved from Berlin to Princeton in 1933.',
  'Lise Meitner left Vienna for Berlin, where she met Max Planck.',
  'Ada Lovelace wrote to Charles Babbage in London.',
  'Alan Turing studied at King’s College in Cambridge.',
  'Emmy Noether taught in Göttingen and at Bryn Mawr College.',
];

test('extract finds what is in the texts, in the form that is promised', async () => {
  const input = write('few.jsonl', [
    { id: 'curie', text: `🙂 ${CURIE}`, source: 'plain facts' },
    { id: 2, text: '' },
    { id: '三', text: '2018年6月,蓝天资本向青云网络投资5000万美元,持有后者20%的股权。' },
    { id: 4, text: 'It rained.' },
    { id: 'long', text: `${FILLER.join(' ')} ${CURIE}` },
  ]);
  const output = at('few.out.jsonl');
  const { code, stdout, stderr } = await knowlm(['extract', '--schema', WIKIPEDIA, '--input', input, '--output', output, '--json']);
  assert.equal(code, 0, stderr);
  const rows = lines(output);
  assert.deepEqual(rows.map((row) => row.id), ['curie', 2, '三', 4, 'long'], 'in the order of the input');
  assertForm(rows);
  const [curie, empty, , , long] = rows;
  assert.equal(curie.source, 'plain facts', 'other fields pass through');
  const { title } = JSON.parse(readFileSync(WIKIPEDIA, 'utf8'));
  const [made] = curie.made_by;
  assert.deepEqual([made.origin, made.adapter, made.schema], ['tuned', 'ie-smollm2', title.en ?? title]);
  assert.match(made.model, /SmolLM2/);
  const found = curie.entities.map((e) => e.text);
  for (const words of ['Marie Curie', 'Warsaw', '1867', 'Paris', '1891']) assert.ok(found.includes(words), `${words} in ${found}`);
  assert.equal(curie.entities.find((e) => e.text === 'Marie Curie').start, 2, 'code points, not UTF-16 units');
  assert.deepEqual([empty.entities, empty.relations, empty.issues], [[], [], []]);
  // The last sentence of a text that is longer than any the adapter was trained on.
  const names = long.entities.map((e) => e.text);
  for (const words of ['Niels Bohr', 'Ada Lovelace', 'Marie Curie', 'Warsaw']) assert.ok(names.includes(words), `${words} in ${names}`);
  assert.equal(new Set(long.entities.map((e) => `${e.type} ${e.text.toLowerCase()}`)).size, long.entities.length, 'each once');
  const summary = JSON.parse(stdout);
  assert.equal(summary.texts, 5);
  assert.equal(summary.failed, 0);
  assert.equal(summary.entities, rows.reduce((sum, row) => sum + row.entities.length, 0));
});

test('asked again with sampling, the records are the same, and each says in how many samples it stands', async () => {
  const input = write('sampled.jsonl', [
    { id: 1, text: 'Ada Lovelace met Charles Babbage in London.' },
    { id: 2, text: 'The Acme Rolling Thunder of May wrote to Basie.' },
  ]);
  const run = (output, ...more) =>
    knowlm(['extract', '--schema', PEOPLE, '--input', input, '--output', at(output), ...more]);
  for (const [output, ...more] of [['once.jsonl'], ['again.jsonl', '--samples', '3'], ['same.jsonl', '--samples', '3']]) {
    assert.equal((await run(output, ...more)).code, 0);
  }
  const said = (output) => lines(at(output)).flatMap((row) => [...row.entities, ...row.relations]);
  const bare = (records) => records.map(({ certainty, agreement, ...record }) => record);
  const sampled = said('again.jsonl');
  assert.ok(sampled.length > 2);
  assert.deepEqual(bare(sampled), bare(said('once.jsonl')));
  assert.deepEqual(sampled, said('same.jsonl'), 'samples are drawn with the same seeds');
  for (const { agreement, certainty } of sampled) {
    assert.ok(agreement.of === 3 && agreement.found >= 0 && agreement.found <= 3, JSON.stringify(agreement));
    if (agreement.found < 1.5) assert.equal(certainty, 'check');
  }
  assert.match((await run('again.jsonl')).stderr, /another samples/, 'what was made with samples goes on with them');
  assert.match((await run('never.jsonl', '--samples', '9')).stderr, /0\.\.=?8/);
});

test('some texts are tried at random with an estimate for all, and places are counted as asked', async () => {
  const rows = Array.from({ length: 60 }, (_, n) => ({ id: n, text: `🙂 ${FILLER[n % FILLER.length]}` }));
  const args = ['extract', '--schema', PEOPLE, '--input', write('many.jsonl', rows), '--output', at('many.out.jsonl')];
  const tried = await knowlm([...args, '--try', '5', '--offsets', 'utf-16']);
  assert.equal(tried.code, 0, tried.stderr);
  assert.match(tried.stderr, /5 texts tried, .*\nAll 60 texts would take about \d+/);
  const shown = tried.stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(shown.length, 5);
  for (const row of shown) for (const e of row.entities) assert.equal(row.text.slice(e.start, e.end), e.text);
  assert.ok(shown.some((row) => row.entities.length > 0));
  assert.equal((await knowlm([...args, '--try', '5', '--offsets', 'utf-16'])).stdout, tried.stdout, 'the same again');
  assert.ok(!existsSync(at('many.out.jsonl')), 'the output is left alone');
  const estimate = JSON.parse((await knowlm([...args.slice(0, 5), '--try', '--json'])).stdout);
  assert.deepEqual([estimate.texts, estimate.all_texts, estimate.failed], [20, 60, 0]);
  assert.ok(estimate.entities_per_text > 0.5 && estimate.all_seconds > estimate.seconds);

  const unknown = write('unknown.json', JSON.stringify({ language: 'en', entities: ['person', 'spaceship'] }));
  const named = await knowlm(['extract', '--schema', unknown, '--input', at('many.jsonl'), '--try', '1']);
  assert.match(named.stderr, /Not taught to the model[^\n]*: spaceship \(ner, en\)\./);
  assertClearFailure(await knowlm(args.slice(0, 5)), /--output/);
});

test('events have roles of their type, in both languages', async () => {
  for (const [schema, text, trigger] of [
    ['biomedical-en', 'A 62-year-old man developed severe thrombocytopenia after receiving heparin for deep vein thrombosis.', null],
    ['finance-zh', '根据质押日星河股份收盘价8.25元进行估算,明德控股集团有限公司本次质押股票市值约为2.36亿元。', '质押'],
  ]) {
    const input = write(`${schema}.txt`, `${text}\n`);
    const output = at(`${schema}.out.jsonl`);
    const path = join(root, `assets/schemas/${schema}.json`);
    const { code, stderr } = await knowlm(['extract', '--schema', path, '--input', input, '--output', output]);
    assert.equal(code, 0, stderr);
    const [row] = lines(output);
    assertForm([row]);
    assert.equal(row.id, 1, 'the line is the id');
    assert.ok(row.events.length > 0, JSON.stringify(row));
    if (trigger) assert.ok(row.events.some((e) => e.trigger === trigger));
    const roles = JSON.parse(readFileSync(path, 'utf8')).events;
    for (const event of row.events) {
      for (const argument of event.arguments) assert.ok(roles[event.type].includes(argument.role), argument.role);
    }
  }
});

test('tables, YAML, limits and rows that cannot be read', async () => {
  const schema = write('own.yaml', 'language: en\nentities:\n  - person\n  - {name: location, description: Where.}\n');
  const csv = write('rows.csv', `nr,body,text\na,"${CURIE}",x\nb,"Two, fields",\nc\n`);
  const output = at('rows.out.jsonl');
  const args = ['extract', '--schema', schema, '--input', csv, '--output', output, '--text-column', 'body', '--id-column', 'nr'];
  const one = await knowlm([...args, '--limit', '1']);
  assert.equal(one.code, 0, one.stderr);
  assert.equal(lines(output).length, 1);
  const all = await knowlm(args);
  assertClearFailure(all, /1 text cannot be read; .*rows\.csv/);
  const rows = lines(output);
  assert.deepEqual(rows.map((row) => row.id), ['a', 'b', 'c']);
  assert.equal(rows[0].input_text, 'x');
  assert.ok(rows[0].entities.every((e) => ['person', 'location'].includes(e.type)), 'only what was asked for');
  assert.match(rows[2].error, /line 4 has 1 fields instead of 3/);
  assertForm(rows);
  // What failed is tried again, what is done is not.
  assertClearFailure(await knowlm(args), /1 text cannot be read; .*rows\.csv/);
  assert.equal(lines(output).length, 3);
});

test('killed twice and resumed, every text is in the output exactly once, as if nothing had happened', async () => {
  const rows = Array.from({ length: 60 }, (_, i) => ({ id: i, text: `${FILLER[i % FILLER.length]} Number ${i}.` }));
  const input = write('many.jsonl', rows);
  const args = (output) => ['extract', '--schema', PEOPLE, '--input', input, '--output', output, '--concurrency', '4'];
  const output = at('killed.jsonl');
  for (const enough of [5, 20]) {
    const child = spawn(binary, args(output), { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal })));
    const deadline = Date.now() + 120_000;
    while (Date.now() < deadline && !(existsSync(output) && readFileSync(output, 'utf8').split('\n').length > enough)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill('SIGKILL');
    assert.deepEqual(await ended, { code: null, signal: 'SIGKILL' }, 'it was killed on the way');
    // As when it is killed in the middle of writing.
    writeFileSync(output, '{"id": 59, "text": "torn', { flag: 'a' });
  }
  const last = await knowlm(args(output));
  assert.equal(last.code, 0, last.stderr);
  assert.match(last.stderr, /of 60 texts are done already/);
  assert.deepEqual(lines(output).map((row) => row.id), rows.map((row) => row.id));

  const whole = at('whole.jsonl');
  assert.equal((await knowlm(args(whole))).code, 0);
  assert.equal(readFileSync(output, 'utf8'), readFileSync(whole, 'utf8'), 'the same as without a kill');

  const again = await knowlm(args(output));
  assert.equal(again.code, 0, 'nothing is left to do');
  assert.equal(lines(output).length, 60);
  const other = await knowlm([...args(output), '--temperature', '0.5']);
  assertClearFailure(other, /made with another temperature/, /--restart/);
  assertClearFailure(await knowlm([...args(output).map((a) => (a === PEOPLE ? WIKIPEDIA : a))]), /another schema/);
});

test('what cannot be meant is refused before the model is loaded', async () => {
  const input = write('ok.txt', 'One.\n');
  const run = (schema, from = input) => knowlm(['extract', '--schema', schema, '--input', from, '--output', at('never.jsonl')]);
  assertClearFailure(await run(write('bad.json', '{"events": {"merger": "buyer"}}')), /events\.merger: must be a list of roles/);
  assertClearFailure(await run(PEOPLE, write('twice.jsonl', [{ id: 1, text: 'a' }, { id: 1, text: 'b' }])), /lines 1 and 2/);
  assertClearFailure(await run(PEOPLE, at('missing.txt')), /cannot be read/);
  const same = await knowlm(['extract', '--schema', PEOPLE, '--input', input, '--output', input]);
  assertClearFailure(same, /same file/);
  assert.ok(!existsSync(at('never.jsonl')));
});

test('eval gives both scores, each by its name, and the mistakes', async () => {
  const gold = write('gold.jsonl', [
    { id: 1, entities: [{ type: 'person', text: 'Ada' }, { type: 'city', text: 'Rome' }] },
    { id: 2, entities: [{ type: 'person', text: 'Bob' }] },
  ]);
  const pred = write('pred.jsonl', [
    { id: 2, text: 'bob', entities: [{ type: 'person', text: 'bob', start: 0, end: 3 }] },
    { id: 1, text: 'Ada', entities: [{ type: 'person', text: 'Ada', start: 0, end: 3 }] },
  ]);
  const { code, stdout } = await knowlm(['eval', '--task', 'ner', '--gold', gold, '--pred', pred, '--json', '--errors', '9']);
  assert.equal(code, 0);
  const report = JSON.parse(stdout);
  const { micro, per_text: perText, mistakes } = report.scores.entities;
  // By exact words: 1 right of 2 predicted and 3 gold.
  assert.deepEqual([micro.right, micro.predicted, micro.gold], [1, 2, 3]);
  assert.ok(Math.abs(micro.f1 - 0.4) < 1e-9);
  // Without case: text 1 has 1/1 and 1/2, text 2 all.
  assert.ok(Math.abs(perText.f1 - (2 / 3 + 1) / 2) < 1e-9);
  assert.deepEqual(mistakes.map((m) => `${m.kind} ${m.id} ${m.record}`), ['missed 1 Rome, city', 'missed 2 Bob, person', 'wrong 2 bob, person']);

  const compared = await knowlm(['eval', '--task', 'ner', '--gold', gold, '--pred', gold, '--against', pred]);
  assert.equal(compared.code, 0);
  assert.match(compared.stdout, /mean per text/);
  assert.match(compared.stdout, /micro F1 100\.0 \(100\.0 to 100\.0\), the other 40\.0/);
  const fewer = write('fewer.jsonl', [{ id: 1 }]);
  // Gold of a review that has only begun.
  const begun = await knowlm(['eval', '--task', 'ner', '--gold', fewer, '--pred', pred]);
  assert.match(begun.stdout, /^1 texts; 1 more have no gold and are left out/);
  assertClearFailure(await knowlm(['eval', '--task', 'ner', '--gold', gold, '--pred', fewer]), /no line for 1 of the 2 ids/);
});
