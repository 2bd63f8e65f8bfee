// One text in all its views, and taking its records away.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ended, examples, hydrated, open, openHouse, quiet, the } from './lib/house.mjs';

const house = openHouse();

/** Runs the first example of a schema's kind; the page then shows it. */
async function extracted(page, wanted = () => true) {
  const index = examples().findIndex(wanted);
  await open(page, '/lora');
  await the(page, 'example').nth(index).click();
  await the(page, 'run').click();
  await ended(page);
  return the(page, 'output');
}

const sessionOf = async (page) => the(page, 'this-session').getAttribute('href');

test('a text is shown as marks, table and graph, and the choice is remembered', async () => {
  const page = await house.visitor();
  const output = await extracted(page);
  const records = await output.locator('[data-testid="record"]').count();
  assert.ok(records >= 2);

  await output.locator('[data-testid="view-table"]').click();
  const rows = output.locator('[data-testid="table-row"]');
  assert.equal(await rows.count(), records, 'everything is in the table');
  const words = () => rows.locator('.what').allTextContents();
  const places = async () => (await rows.locator('.place').allTextContents()).map(Number);
  assert.deepEqual(await places(), [...(await places())].sort((a, b) => a - b), 'in the order of the text');
  await output.locator('[data-testid="sort-words"]').click();
  await output.locator('[data-testid="sort-words"]').click();
  const sorted = [...(await words())].sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? 1 : -1));
  assert.deepEqual(await words(), sorted, 'sorted downwards by words');

  await output.locator('[data-testid="view-graph"]').click();
  const nodes = output.locator('svg g.node');
  assert.ok((await nodes.count()) >= 2);
  const box = () => output.locator('svg.graph').getAttribute('viewBox');
  const whole = await box();
  await output.locator('[data-testid="graph-in"]').click();
  const near = await box();
  assert.ok(Number(near.split(' ')[2]) < Number(whole.split(' ')[2]), 'zoomed in');
  await nodes.first().focus();
  await page.keyboard.press('Shift+ArrowRight');
  assert.ok(Number((await box()).split(' ')[0]) > Number(near.split(' ')[0]), 'moved');
  await page.keyboard.press('Home');
  assert.equal(await box(), whole);

  await page.reload();
  await hydrated(page);
  await output.locator('svg.graph').waitFor();
});

test('the server draws the same graph, and a type can be left out of it', async () => {
  const page = await house.visitor();
  const output = await extracted(page);
  const path = await sessionOf(page);
  await output.locator('[data-testid="view-graph"]').click();
  const names = () => output.locator('svg .node-name').allTextContents();
  const drawn = await names();
  const plain = await house.visitor({ javaScriptEnabled: false });
  await plain.goto(`${path}?view=graph`);
  assert.deepEqual(await plain.locator('svg .node-name').allTextContents(), drawn);

  const filters = output.locator('[data-testid="graph-filter"]');
  await filters.first().uncheck();
  assert.ok((await names()).length < drawn.length);
  await filters.first().check();
  assert.deepEqual(await names(), drawn);
});

test('a record is judged with the same keys in every view', async () => {
  const page = await house.visitor();
  const output = await extracted(page);
  for (const [view, element] of [
    ['text', '[data-view="list"] [data-record]'],
    ['text', 'mark[data-record][tabindex]'],
    ['table', '[data-testid="table-row"]'],
    ['graph', 'svg g.node[data-record]'],
  ]) {
    await output.locator(`[data-testid="view-${view}"]`).click();
    const first = output.locator(element).first();
    await first.focus();
    const record = await first.getAttribute('data-record');
    await page.keyboard.press('1');
    assert.match(await output.locator('[data-testid="counts"]').textContent(), /right 1/, view);
    await page.keyboard.press('ArrowDown');
    const next = await page.evaluate(() => document.activeElement.dataset.record);
    assert.notEqual(next, record, `${view}: an arrow moves on`);
    await page.keyboard.press('ArrowUp');
    assert.equal(await page.evaluate(() => document.activeElement.dataset.record), record);
    await page.keyboard.press('Backspace');
    assert.match(await output.locator('[data-testid="counts"]').textContent(), /right 0/, view);
  }
  await quiet(page);
});

test('scores follow every judgement', async () => {
  const page = await house.visitor();
  const output = await extracted(page);
  assert.equal(await output.locator('[data-testid="score-line"]').count(), 0, 'nothing is judged yet');
  await output.locator('[data-testid="record"]').nth(0).focus();
  await page.keyboard.press('1');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('2');
  assert.match(await output.locator('[data-testid="score-line"]').textContent(), /precision 50\.0 % \(1 of 2 judged\) · recall 100\.0 % \(1 of 1\) · F1 66\.7 %/);
  await quiet(page);
});

test('words selected in the text become a record', async () => {
  const page = await house.visitor();
  const output = await extracted(page);
  await output.locator('.marked').evaluate((text) => {
    const range = document.createRange();
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    const plain = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) if (!node.parentElement.closest('mark')) plain.push(node);
    const node = plain.find((n) => /[a-z]{4}/i.test(n.textContent));
    const at = node.textContent.search(/[a-z]{4}/i);
    range.setStart(node, at);
    range.setEnd(node, at + 4);
    text.closest('.views').focus();
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  });
  const words = await page.evaluate(() => getSelection().toString());
  await page.keyboard.press('a');
  assert.equal(await the(page, 'edit-words').inputValue(), words);
  await page.keyboard.press('Enter');
  await the(page, 'editor').waitFor({ state: 'detached' });
  assert.ok((await output.locator('mark.o-you').allTextContents()).includes(words), 'it is marked as said by you');
  await quiet(page);
});

test('events are cards, and relations are arrows in the graph', async () => {
  const page = await house.visitor();
  const events = await extracted(page, (e) => e.schema.includes('phee') || e.schema.includes('-ee'));
  await events.locator('[data-testid="view-events"]').click();
  const card = events.locator('[data-testid="event"]').first();
  assert.ok((await card.locator('dt').count()) > 0, 'it has arguments');
  await card.focus();
  await page.keyboard.press('1');
  assert.match(await card.getAttribute('class'), /right/);
  await quiet(page);
});

test('where relations cannot be arcs the text says so, and leads to the graph', async () => {
  const page = await house.visitor();
  await open(page, '/lora');
  await page.getByLabel('Relations').check();
  const filler = 'The weather was fine and the trains were late that day. '.repeat(24);
  await the(page, 'input').fill(`Ada Lovelace was born in London. ${filler}`);
  await the(page, 'run').click();
  await ended(page);
  await the(page, 'view-text').click();
  const output = the(page, 'output');
  assert.ok((await output.locator('[data-testid="record"]').count()) > 0, 'a relation was found');
  assert.equal(await the(page, 'arcs').count(), 0);
  assert.match(await the(page, 'no-arcs').textContent(), /up to 12 of them, over texts up to 1200 characters/);
  await the(page, 'to-graph').click();
  await output.locator('svg.graph').waitFor();
});

const FORMATS = {
  json: 'application/json', jsonl: 'application/x-ndjson', gold: 'application/x-ndjson', csv: 'text/csv', markdown: 'text/markdown',
  brat: 'application/zip', doccano: 'application/x-ndjson', turtle: 'text/turtle', cypher: 'text/plain', nodes: 'text/csv', edges: 'text/csv',
  graphml: 'application/xml', svg: 'image/svg+xml', html: 'text/html',
};

test('records go out in every format, from the session, the card and the link, also without scripts', async () => {
  const page = await house.visitor({ acceptDownloads: true });
  const output = await extracted(page);
  const records = output.locator('[data-testid="record"]');
  const judge = async (record, key) => {
    await record.focus();
    await page.keyboard.press(key);
    await quiet(page);
  };
  await judge(records.first(), '2');
  const path = await sessionOf(page);
  const few = (await records.count()) > 1;
  if (few) assert.equal((await page.request.get(`${path}/export?format=gold`)).status(), 400, 'judged in part');
  for (const record of (await records.all()).slice(1)) await judge(record, '1');
  for (const [format, type] of Object.entries(FORMATS)) {
    const answer = await page.request.get(`${path}/export?format=${format}&judgements=on`);
    assert.equal(answer.status(), 200, format);
    assert.ok(answer.headers()['content-type'].startsWith(type), `${format}: ${answer.headers()['content-type']}`);
    assert.match(answer.headers()['content-disposition'], /^attachment; filename="knowlm-session\..+"; filename\*=UTF-8''/);
    assert.ok((await answer.body()).length > (format === 'gold' ? 20 : 50), `${format} is not empty`);
  }
  assert.equal((await page.request.get(`${path}/export?format=xls`)).status(), 400);
  assert.equal((await page.request.get('/sessions/not-there/export')).status(), 404);

  const csv = async (query) => (await page.request.get(`${path}/export?format=csv${query}`)).body();
  assert.match((await csv('&judgements=on')).toString(), /wrong/);
  assert.doesNotMatch((await csv('')).toString(), /,wrong,/, 'without judgements');
  assert.deepEqual([...(await csv('&bom=on')).subarray(0, 3)], [0xef, 0xbb, 0xbf]);

  // The menu is a plain form.
  const plain = await house.visitor({ javaScriptEnabled: false, acceptDownloads: true });
  await plain.goto(path);
  const menu = the(plain, 'export-menu').first();
  await menu.locator('summary').click();
  const [download] = await Promise.all([plain.waitForEvent('download'), the(menu, 'export-csv').click()]);
  assert.match(download.suggestedFilename(), /\.csv$/);

  await the(page, 'share').click();
  const link = new URL(await the(page, 'share-link').getAttribute('href')).pathname;
  const reader = await house.visitor({ acceptDownloads: true });
  await open(reader, link);
  await the(reader, 'export-menu').first().locator('summary').click();
  const [shared] = await Promise.all([reader.waitForEvent('download'), the(reader, 'export-json').first().click()]);
  assert.match(shared.suggestedFilename(), /\.json$/);
  await the(reader, 'view-graph').first().click();
  await reader.locator('svg.graph').first().waitFor();
});

test('a graph is moved with a finger and zoomed with two', async () => {
  const page = await house.visitor({ hasTouch: true, viewport: { width: 390, height: 844 } });
  const output = await extracted(page);
  await output.locator('[data-testid="view-graph"]').click();
  const graph = output.locator('svg.graph');
  await graph.scrollIntoViewIfNeeded();
  const seen = async () => (await graph.getAttribute('viewBox')).split(' ').map(Number);
  const { x, y, width, height } = await graph.boundingBox();
  const cdp = await page.context().newCDPSession(page);
  const touch = (type, ...points) =>
    cdp.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  // A place without a name. The first touch takes hold of the picture; without it a finger moves the page.
  const [cx, cy] = [x + width / 2, y + height - 12];
  await touch('touchStart', [cx, cy]);
  await touch('touchEnd');
  await page.waitForFunction(() => document.activeElement?.closest('svg.graph'));

  const whole = await seen();
  await touch('touchStart', [cx, cy]);
  for (let way = 10; way <= 60; way += 10) await touch('touchMove', [cx - way, cy - way]);
  await touch('touchEnd');
  const moved = await seen();
  assert.ok(moved[0] > whole[0] && moved[1] > whole[1], `${whole} to ${moved}`);
  assert.equal(moved[2], whole[2], 'as large as before');

  await touch('touchStart', [cx - 20, cy], [cx + 20, cy]);
  for (let way = 10; way <= 60; way += 10) await touch('touchMove', [cx - 20 - way, cy], [cx + 20 + way, cy]);
  await touch('touchEnd');
  const near = await seen();
  assert.ok(near[2] < moved[2] / 2, `${moved} to ${near}`);
});
