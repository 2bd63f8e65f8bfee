// How sure the model was of its records; what is missing of a long text; the graph as a picture.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { ended, open, openHouse, reload, the } from './lib/house.mjs';

const house = openHouse();

const TEXT =
  'The 65th also controlled the operations of attached tactical fighter squadrons deployed to Spain for temporary duty. ' +
  'Ada Lovelace met Charles Babbage in London, and the Acme Rolling Thunder of May wrote to Basie.';

/** Asks for the names in a text through the page's form, as a browser without scripts does; its session, not waited for. */
async function asked(page, text, more = {}) {
  const form = new URLSearchParams({ page: 'extract', language: 'en', input: text, ...more });
  if (!more.task) {
    form.set('task', 'ner');
    for (const type of ['person', 'location', 'organization', 'other']) form.append('types', type);
  }
  const answer = await page.request.post('/run', {
    data: form.toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: house.studio.url },
    maxRedirects: 0,
  });
  assert.equal(answer.status(), 303, await answer.text());
  return answer.headers().location;
}

const certainties = async (page) => {
  await the(page, 'view-table').first().click();
  await the(page, 'table').first().waitFor();
  return the(page, 'certainty').allTextContents();
};

test('every record says whether the model was sure of it: at once, after loading, in exports and behind a link', async () => {
  const page = await house.visitor({ acceptDownloads: true });
  await open(page, '/lora');
  await the(page, 'input').fill(TEXT);
  await the(page, 'run').click();
  await ended(page);
  const shown = (await certainties(page)).map((text) => text.trim());
  assert.ok(shown.length > 2 && shown.every((text) => ['sure', 'check'].includes(text)), String(shown));
  assert.ok(shown.includes('sure') && shown.includes('check'), `some of each: ${shown}`);

  // Sorted by it, those to be checked stand together.
  await the(page, 'sort-certainty').click();
  const sorted = (await the(page, 'certainty').allTextContents()).map((text) => text.trim());
  assert.deepEqual(sorted, [...shown].sort().reverse());

  await the(page, 'view-text').first().click();
  const doubtful = page.locator('mark[data-certainty="check"]');
  assert.ok((await doubtful.count()) > 0);
  assert.match(await doubtful.first().getAttribute('data-label'), / \?$/, 'not by colour alone');
  assert.match(await doubtful.first().getAttribute('title'), /: check$/);

  await open(page, (await page.url()).replace(/.*session=/, '/sessions/'));
  assert.deepEqual((await certainties(page)).map((text) => text.trim()), shown, 'it is stored');
  const path = new URL(page.url()).pathname;
  const lines = (await (await page.request.get(`${path}/export?format=jsonl`)).text()).trim().split('\n').map(JSON.parse);
  const said = lines.flatMap((line) => line.entities.map((entity) => entity.certainty));
  assert.deepEqual(said.toSorted(), shown.toSorted());
  const csv = await (await page.request.get(`${path}/export?format=csv`)).text();
  assert.match(csv, /,found,certainty,origin,/);
  assert.match(csv, /,exact,check,tuned,/);

  await open(page, `${path}/review`);
  assert.match(await the(page, 'doubt').first().textContent(), /check/, 'the review knows');
  await open(page, path);
  await the(page, 'share').click();
  const reader = await house.visitor();
  await open(reader, new URL(await the(page, 'share-link').getAttribute('href')).pathname);
  assert.deepEqual((await certainties(reader)).map((text) => text.trim()), shown);
});

test('asked again with sampling, every record says in how many samples it stands', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await the(page, 'input').fill(TEXT);
  await the(page, 'param-samples').fill('3');
  await the(page, 'run').click();
  await ended(page);
  const shown = (await certainties(page)).map((text) => text.trim());
  assert.ok(shown.length > 2 && shown.every((text) => /^(sure|check)\s·\sin [0-3] of 3 samples$/.test(text)), String(shown));
  const path = (await page.url()).replace(/.*session=/, '/sessions/');
  await open(page, path);
  assert.deepEqual((await certainties(page)).map((text) => text.trim()), shown, 'it is stored');
  const csv = await (await page.request.get(`${path}/export?format=csv`)).text();
  assert.match(csv, /,[0-3] of 3,[^\r]*\r\n/);

  // A page that works without scripts has the same.
  const plain = await asked(page, TEXT, { 'param-samples': '2' });
  await open(page, plain);
  await ended(page);
  assert.match(await the(page, 'in-samples').first().textContent(), /in [0-2] of 2 samples/);
});

test('the graph is taken away as a picture', async () => {
  const page = await house.visitor({ acceptDownloads: true });
  const path = await asked(page, '阳光城集团收购协信地产，张三任董事长。', { language: 'zh' });
  await open(page, path);
  await ended(page);
  await the(page, 'export-menu').first().locator('summary').click();
  const [download] = await Promise.all([page.waitForEvent('download'), the(page, 'export-png').first().click()]);
  assert.equal(download.suggestedFilename(), 'graph.png');
  const png = readFileSync(await download.path());
  assert.equal(png.subarray(1, 4).toString(), 'PNG');
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  assert.ok(width > 100 && height > 40, `${width}x${height}`);
});

test('what was stopped of a long text is asked again, and nothing else', async () => {
  const page = await house.visitor();
  const sentence = (n) => `On day ${n} Ada Lovelace met Charles Babbage in London and wrote to the Royal Society of Edinburgh. `;
  const text = Array.from({ length: 120 }, (_, n) => sentence(n)).join('');
  const path = await asked(page, text, { task: 'all', schema: 'people-places-organizations-en' });
  await open(page, path);
  await page.waitForFunction(() => Number(document.querySelector('[data-testid="run-line"] progress')?.value) > 1);
  await the(page, 'stop').click();
  assert.equal((await ended(page))[0].status, 'cancelled');
  const raw = () => page.locator('[data-testid="raw"]').allTextContents();
  const before = (await raw()).map((answer, index) => [index, answer]);
  const button = the(page, 'missing');
  const missing = Number((await button.textContent()).match(/\((\d+)\)/)[1]);
  assert.ok(missing > 0 && missing < before.length, `${missing} of ${before.length}`);
  const session = async () => (await page.request.get(`${path}/export?format=json`)).json();
  const some = (await session())[0].entities.length;

  await button.click();
  await button.waitFor({ state: 'detached' });
  const [end] = await ended(page, { timeout: 180_000 });
  assert.deepEqual(end, { status: 'finished', finish: 'stop' });
  await reload(page);
  const after = await raw();
  assert.equal(after.length, before.length, 'no part is asked twice');
  assert.ok(after.every((answer) => answer.length > 0));
  assert.ok((await session())[0].entities.length >= some);
});
