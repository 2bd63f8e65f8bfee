// `/batch`: a file of texts from its upload to its results, as a person does it; with and without scripts, and through kills.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { openHouse } from './lib/house.mjs';
import { emptyDataDir, remove, startStudio } from './lib/studio.mjs';

const house = openHouse();

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), 'knowlm-batch-page-'))));
after(() => remove(folder));

const PEOPLE = ['Marie Curie', 'Niels Bohr', 'Lise Meitner', 'Alan Turing', 'Emmy Noether', 'Ada Lovelace'];
const PLACES = ['Warsaw', 'Copenhagen', 'Vienna', 'London', 'Göttingen', 'Paris'];
const text = (n) => `${PEOPLE[n % 6]} came to ${PLACES[(n + Math.floor(n / 6)) % 6]} in ${1900 + n}.`;

/** A CSV file of so many rows. */
function csv(name, rows) {
  const lines = Array.from({ length: rows }, (_, n) => `r${n},"${text(n)}",source ${n}\n`);
  writeFileSync(join(folder, name), `key,sentence,where\n${lines.join('')}`);
  return join(folder, name);
}

/**
 * Waits until so many texts are done. Without scripts a page loads itself again while something goes on, which would take it away
 * from under who reads it: it is waited for as well that it does not any more.
 */
const until = (page, words) =>
  page
    .locator('.batch:not(:has(meta[http-equiv="refresh"]))')
    .getByTestId('batch-done')
    .filter({ hasText: words })
    .waitFor({ timeout: 120_000 });

async function results(page, format = 'jsonl') {
  const session = new URL(page.url()).searchParams.get('session');
  const answer = await page.request.get(`/batch/${session}/download?format=${format}`);
  assert.equal(answer.status(), 200);
  return answer.text();
}
const jsonLines = (body) => body.split('\n').filter(Boolean).map((line) => JSON.parse(line));

test('a file is uploaded, tried and run, and every row is in the results with its other columns', async () => {
  const page = await house.visitor();
  await page.goto('/batch');
  await page.getByTestId('file').setInputFiles(csv('人物 & places.csv', 30));
  await page.getByTestId('upload').click();
  await page.getByTestId('preview').waitFor();
  assert.equal(await page.getByTestId('upload-name').textContent(), '人物 & places.csv');
  assert.equal(await page.getByTestId('text-column').inputValue(), 'sentence', 'guessed by its name');
  assert.equal(await page.getByTestId('id-column').inputValue(), 'key');
  assert.match(await page.getByTestId('schema').inputValue(), /-en$/, 'a schema of the texts’ language');
  assert.match(await page.getByTestId('instructions').textContent(), /List every entity/, 'what will be asked is there to be read');
  await page.getByTestId('try-some').click();
  await until(page, '20 of 20 texts');
  await page.getByTestId('estimate').filter({ hasText: 'The other 10 rows would take about' }).waitFor();
  await page.getByTestId('run-all').click();
  await until(page, '30 of 30 texts');

  const lines = jsonLines(await results(page));
  assert.deepEqual(lines.map((line) => line.id), Array.from({ length: 30 }, (_, n) => `r${n}`));
  lines.forEach((line, n) => assert.deepEqual([line.text, line.where], [text(n), `source ${n}`]));
  assert.ok(lines.filter((line) => line.entities.some((e) => PEOPLE.includes(e.text))).length > 20);
  // As a session it goes out with the same ids, in the same order.
  const session = new URL(page.url()).searchParams.get('session');
  const exported = await (await page.request.get(`/sessions/${session}/export?format=jsonl`)).text();
  assert.deepEqual(jsonLines(exported).map((line) => line.id), lines.map((line) => line.id));
  assert.ok(jsonLines(exported).every((line) => line.made_by[0].adapter && line.entities.every((e) => e.runs.length === 1)));
  // A link of it too.
  const other = await page.context().newPage();
  await other.goto(new URL(`/sessions/${session}`, page.url()).href);
  await other.waitForLoadState('networkidle');
  await other.getByTestId('share').click();
  const link = await other.getByTestId('share-link').getAttribute('href');
  await other.close();
  const shared = await (await page.request.get(`${link}/export?format=jsonl`)).text();
  assert.deepEqual(jsonLines(shared).map((line) => line.id), lines.map((line) => line.id));
  const table = await results(page, 'csv');
  assert.match(table, /^id,variant,kind,type,text,start,end,head,.*,found,certainty,gold,.*,run,review,error,where\r\n/);

  // 25 rows a page; a row opens its card, and a link to it can be kept.
  assert.equal(await page.getByTestId('batch-row').count(), 25);
  await page.getByTestId('page-next').click();
  await page.getByTestId('page').filter({ hasText: 'Page 2 of 2' }).waitFor();
  assert.equal(await page.getByTestId('batch-row').count(), 5);
  await page.getByRole('link', { name: 'r27', exact: true }).click();
  await page.getByTestId('row-card').getByText(text(27).slice(0, 12)).first().waitFor();
  await page.reload();
  await page.getByTestId('row-card').getByText('source 27').waitFor();
});

test('before a batch runs its types and instructions are shown; types that were not taught are marked', async () => {
  const page = await house.visitor();
  const schema = '{"entities": ["person", "spaceship"]}';
  await page.request.post('/schemas', { form: { id: '', name: 'Ships', text: schema }, headers: { origin: house.studio.url } });
  await page.goto('/batch');
  await page.getByTestId('pasted').fill(text(1));
  await page.getByTestId('upload').click();
  await page.waitForFunction(() => 'started' in document.documentElement.dataset);
  await page.getByTestId('schema').selectOption({ label: 'Ships' });
  await page.getByTestId('types').locator('.untaught', { hasText: 'spaceship' }).waitFor();
  assert.equal(await page.getByTestId('types').locator('.untaught').count(), 1);
  assert.match(await page.getByTestId('instructions').textContent(), /person, spaceship.*try a text on Extract/s);
  await page.getByTestId('format-options').locator('summary').click();
  await page.getByTestId('format').selectOption('json');
  await page.getByTestId('instructions').getByText('Answer as a JSON list').waitFor();
});

test('it works without scripts, from pasted text to the results', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/batch');
  await page.getByTestId('pasted').fill(`${text(1)}\n\n${text(2)}`);
  await page.getByTestId('upload').click();
  assert.equal(await page.getByTestId('text-column').inputValue(), 'text');
  await page.getByTestId('run-all').click();
  await until(page, '2 of 2 texts');
  assert.deepEqual(jsonLines(await results(page)).map((line) => [line.id, line.text]), [[1, text(1)], [3, text(2)]]);
});

test('what cannot be read is told with what to do, and nothing of it is kept', async () => {
  const page = await house.visitor({ expected: [/400|413/] });
  const upload = async (name, content) => {
    await page.goto('/batch');
    await page.getByTestId('file').setInputFiles({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(content) });
    await page.getByTestId('upload').click();
    return page.getByRole('alert').textContent();
  };
  assert.match(await upload('../../<b>.pdf', '%PDF-1.4 nothing'), /^<b>\.pdf .*damaged/);
  assert.match(await upload('a.xlsx', 'PK'), /^a\.xlsx is no Excel workbook, or is damaged/);
  assert.match(await upload('a.csv', 'id,text\n1,"never closed\n2,b\n'), /quotation mark in line 2 that is never closed/);
  assert.match(await upload('a.exe', 'MZ'), /of no known kind/);
  await page.goto('/batch');
  await page.getByTestId('upload').click();
  assert.match(await page.getByRole('alert').textContent(), /nothing to read/);
  assert.deepEqual(readdirSync(join(house.studio.dataDir, 'uploads')).filter((name) => name.endsWith('.part')), []);
});

test('killed twice and started again, a batch goes on, and every text is done exactly once', async () => {
  const dataDir = emptyDataDir();
  let studio = await startStudio({ dataDir });
  const expected = [/ERR_CONNECTION_REFUSED|Failed to fetch|network/i];
  const page = await house.visitor({ studio, expected });
  await page.goto('/batch');
  await page.getByTestId('file').setInputFiles(csv('many.csv', 120));
  await page.getByTestId('upload').click();
  await page.getByTestId('run-all').click();
  const session = new URL(page.url()).searchParams.get('session');
  await page.goto('about:blank');
  const get = async (path) => (await fetch(`${studio.url}${path}`)).text();
  const done = async () => jsonLines(await get(`/batch/${session}/download?format=jsonl`)).length;
  for (const rows of [15, 45]) {
    while ((await done()) < rows) await new Promise((resolve) => setTimeout(resolve, 50));
    await studio.kill();
    studio = await startStudio({ dataDir, port: studio.port });
  }
  while ((await done()) < 120) await new Promise((resolve) => setTimeout(resolve, 100));
  const lines = jsonLines(await get(`/batch/${session}/download?format=jsonl`));
  assert.deepEqual(lines.map((line) => line.id), Array.from({ length: 120 }, (_, n) => `r${n}`));
  assert.ok(lines.every((line) => line.error === undefined));
  await studio.stop();
  remove(dataDir);
});

test('the format of the answers is chosen, without scripts too, and told on the page', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/batch');
  await page.getByTestId('pasted').fill(`${text(1)}\n${text(2)}`);
  await page.getByTestId('upload').click();
  await page.getByTestId('format-options').locator('summary').click();
  await page.getByTestId('format').selectOption('angles');
  await page.getByTestId('run-all').click();
  await until(page, '2 of 2 texts');
  assert.match(await page.getByTestId('asked-format').textContent(), /angles/);
  await page.getByTestId('batch-row').first().getByRole('link').click();
  assert.match(await page.getByTestId('exact-prompt').first().textContent(), /Answer as <\w+, \w+/);
});

test('every question is asked again with sampling where that is wanted, and a row says in how many samples a record stands', async () => {
  const page = await house.visitor();
  await page.goto('/batch');
  await page.getByTestId('pasted').fill(`${text(1)}\n${text(2)}`);
  await page.getByTestId('upload').click();
  const samples = page.getByTestId('param-samples');
  const usual = await page.request.get('/lora');
  const [, value] = (await usual.text()).match(/name="param-samples"[^>]* value="(\d+)"/);
  assert.equal(await samples.inputValue(), value, 'begins with the default, as on the page of single texts');
  await samples.fill('3');
  await page.getByTestId('run-all').click();
  await until(page, '2 of 2 texts');
  await page.getByTestId('batch-row').first().getByRole('link').click();
  assert.match(await page.getByTestId('in-samples').first().textContent(), /in [0-3] of 3 samples/);
});
