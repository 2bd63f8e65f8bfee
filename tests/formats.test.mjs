// Answer formats: chosen on the page and on the command line, the records come out of each.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ended, open, openHouse, the } from './lib/house.mjs';
import { knowlm, remove, root } from './lib/studio.mjs';

const house = openHouse();
const TEXT = 'Acme was founded by Ann Lee in Leeds in 1990.';

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), 'knowlm-formats-'))));
after(() => remove(folder));

/** Opens the extraction page with the text and the choice of formats. */
async function bench(page) {
  await open(page, '/lora');
  await the(page, 'input').fill(TEXT);
  await the(page, 'format-options').locator('summary').click();
}

test('a format is chosen, seen in the instruction and in the prompt, and read', async () => {
  const page = await house.visitor();
  await bench(page);
  const instruction = the(page, 'instruction');
  assert.match(await instruction.inputValue(), /Answer as \(entity, type\) pairs/);
  assert.equal(await the(page, 'format-untaught').count(), 0);
  await the(page, 'format').selectOption('angles');
  assert.match(await instruction.inputValue(), /Answer as <entity, type> pairs/);
  await the(page, 'format-untaught').waitFor();
  await the(page, 'run').click();
  assert.deepEqual(await ended(page), [{ status: 'finished', finish: 'stop' }]);
  await the(page, 'output').getByText('Raw answer').click();
  assert.match(await the(page, 'raw').textContent(), /^<.+, .+>/);
  assert.ok((await the(page, 'output').locator('[data-testid="record"]').count()) > 0, 'there are records');
  assert.ok((await the(page, 'entity').count()) > 0, 'they are marked in the text');

  await the(page, 'format').selectOption('');
  assert.match(await instruction.inputValue(), /Answer as \(entity, type\) pairs/);
});

test('the prompt of OneKE is a conversation about a JSON object, which can be edited', async () => {
  const page = await house.visitor();
  await bench(page);
  await the(page, 'format').selectOption('oneke-json');
  const asked = JSON.parse(await the(page, 'instruction').inputValue());
  assert.match(asked.instruction, /^You are an expert in named entity recognition\./);
  assert.ok(asked.schema.includes('person'));
  await the(page, 'run').click();
  const [{ status }] = await ended(page);
  assert.equal(status, 'finished');
  const prompt = await the(page, 'exact-prompt').textContent();
  const [, object] = prompt.match(/^\[INST\] <<SYS>>\n.*\n<<\/SYS>>\n\n(.*) \[\/INST\]$/s);
  assert.deepEqual(JSON.parse(object), { ...asked, input: TEXT });
  // The shipped adapter was not taught this, and may repeat itself: guided, it still says asked types and words of the text.
  const answer = await the(page, 'raw').textContent();
  assert.ok(answer.startsWith(`{"${asked.schema[0]}": [`), answer);
  for (const [, words] of answer.matchAll(/"([^"]+)"/g)) {
    assert.ok(asked.schema.includes(words) || TEXT.includes(words), `“${words}” in ${answer}`);
  }
  assert.ok((await the(page, 'output').locator('[data-testid="record"]').count()) > 0, 'there are records');

  await the(page, 'instruction').fill('{"instruction": "Find the cities.", "schema": ["city"]}');
  await the(page, 'run').click();
  await ended(page);
  const edited = await the(page, 'exact-prompt').first().textContent();
  assert.ok(edited.includes(`{"instruction": "Find the cities.", "schema": ["city"], "input": "${TEXT}"}`), edited);
});

test('examples are given to the model with a whole schema that has some, and are not offered without one', async () => {
  const page = await house.visitor();
  const text = '{"language": "en", "entities": [{"name": "person", "examples": ["Grace Hopper"]}]}';
  const saved = await page.request.post('/schemas', { form: { id: '', name: 'With examples', text }, headers: { origin: house.studio.url }, maxRedirects: 0 });
  const id = saved.headers().location.split('/').pop();
  await bench(page);
  assert.equal(await the(page, 'with-examples').isVisible(), false, 'a single task has none to give');
  await the(page, 'task-all').check();
  await the(page, 'schema').selectOption('finance-en');
  await the(page, 'with-examples').check();
  await the(page, 'no-examples').waitFor();
  await the(page, 'schema').selectOption(id);
  assert.equal(await the(page, 'no-examples').count(), 0);
  assert.match(await the(page, 'question-text').inputValue(), /Grace Hopper/);
});

test('without scripts the format is chosen too', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/lora');
  await the(page, 'input').fill(TEXT);
  await the(page, 'format-options').locator('summary').click();
  await the(page, 'format').selectOption('json');
  await the(page, 'run').click();
  await page.waitForURL('**/sessions/*');
  const prompt = await the(page, 'exact-prompt').first().textContent();
  assert.match(prompt, /Answer as a JSON list \[\{"entity": "", "type": ""\}\]\./);
});

test('extract answers in every format, and its records are of the schema and of the text', async () => {
  const input = join(folder, 'texts.txt');
  writeFileSync(input, `${TEXT}\nAda Lovelace worked with Charles Babbage in London.\n`);
  const schema = join(folder, 'schema.json');
  const people = { name: 'person', examples: ['Grace Hopper'] };
  writeFileSync(schema, JSON.stringify({ entities: [people, 'location'], relations: ['founder'], events: { meeting: ['guest'] } }));
  const types = ['person', 'location', 'founder', 'meeting'];
  for (const format of ['tuples', 'angles', 'lines', 'json', 'oneke-json']) {
    const output = join(folder, `${format}.jsonl`);
    const args = ['extract', '--schema', schema, '--input', input, '--output', output, '--format', format];
    const { code, stderr } = await knowlm([...args, '--with-examples', '--max-new-tokens', '96']);
    assert.equal(code, 0, stderr);
    const rows = readFileSync(output, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(rows.length, 2, format);
    for (const row of rows) {
      for (const { type, text, start, end } of row.entities) {
        assert.ok(types.includes(type), `${format}: ${type}`);
        assert.equal([...row.text].slice(start, end).join(''), text);
      }
      for (const { relation } of row.relations) assert.equal(relation, 'founder');
      // In its own tuples the adapter may name what it was taught beside what is asked.
      const own = ['tuples', 'lines'].includes(format);
      const wrong = row.issues.filter(({ kind }) => kind === 'not_guided' || (kind === 'not_in_schema' && !own));
      assert.deepEqual(wrong, [], format);
    }
    const again = await knowlm(args);
    assert.notEqual(again.code, 0, 'without the examples it is another output');
    assert.match(again.stderr, /another way of asking/);
  }
  const { stdout } = await knowlm(['extract', '--help']);
  assert.match(stdout, /oneke-json/);
  const wrong = await knowlm(['extract', '--schema', schema, '--input', input, '--output', join(folder, 'x'), '--format', 'xml']);
  assert.match(wrong.stderr, /tuples.*angles.*lines.*json.*oneke-json/s);
});

test('a manifest names the format of its adapter, and how many types are asked for at once', async () => {
  const adapter = join(folder, 'adapter');
  mkdirSync(adapter);
  const shipped = join(root, 'assets/adapters/ie-smollm2');
  for (const file of ['adapter_config.json', 'adapter_model.safetensors']) copyFileSync(join(shipped, file), join(adapter, file));
  const manifest = JSON.parse(readFileSync(join(shipped, 'manifest.json'), 'utf8'));
  writeFileSync(join(adapter, 'manifest.json'), JSON.stringify({ ...manifest, taught: [], format: { ner: 'json' }, group: { ner: 2 } }));
  const text = 'Acme was founded by Ann Lee in Leeds.';
  const input = join(folder, 'one.txt');
  writeFileSync(input, `${text}\n`);
  const schema = join(folder, 'four.json');
  writeFileSync(schema, JSON.stringify({ entities: ['person', 'location', 'organization', 'date'] }));
  const output = join(folder, 'named.jsonl');
  const args = ['extract', '--schema', schema, '--input', input, '--output', output, '--adapter', `mine=${adapter}`];
  const { code, stderr } = await knowlm(args);
  assert.equal(code, 0, stderr);
  const [row] = readFileSync(output, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(row.issues.filter(({ kind }) => kind === 'unreadable' || kind === 'not_guided'), []);
  for (const { text: words, start, end } of row.entities) assert.equal(text.slice(start, end), words);

  writeFileSync(join(adapter, 'manifest.json'), JSON.stringify({ ...manifest, format: 'xml' }));
  const wrong = await knowlm([...args, '--restart']);
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stderr, /manifest\.json/);
});

test('parts of events are asked for alone', async () => {
  const input = join(folder, 'event.txt');
  writeFileSync(input, 'A patient developed a rash after treatment with aspirin.\n');
  const schema = join(folder, 'events.json');
  writeFileSync(schema, JSON.stringify({ language: 'en', events: { 'adverse event': ['treatment', 'effect'] } }));
  for (const part of ['triggers', 'arguments']) {
    const output = join(folder, `${part}.jsonl`);
    const { code, stderr } = await knowlm(['extract', '--schema', schema, '--input', input, '--output', output, '--only', part]);
    assert.equal(code, 0, stderr);
    const [row] = readFileSync(output, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    if (part === 'triggers') {
      assert.deepEqual(row.entities, []);
      for (const event of row.events) assert.deepEqual(event.arguments, []);
    } else {
      assert.deepEqual(row.events, []);
      for (const { type } of row.entities) assert.ok(['treatment', 'effect'].includes(type));
    }
  }
});
