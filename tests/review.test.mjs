// Many texts: gone through without the mouse, checked by sample, scored, and drawn as one graph.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { ended, hydrated, open, openHouse, quiet, the } from './lib/house.mjs';
import { root, startStudio } from './lib/studio.mjs';

const house = openHouse();

const PEOPLE = ['Ada Lovelace', 'Marie Curie', 'Alan Turing', 'Grace Hopper', 'Isaac Newton'];
const PLACES = ['London', 'Paris', 'Berlin', 'Madrid', 'Vienna', 'Tokyo', 'Rome', 'Dublin', 'Oslo', 'Lisbon'];
const TEXTS = PEOPLE.flatMap((person, i) => PLACES.map((place, j) => `${person} was born in ${place} in ${1900 + 10 * i + j}.`));

/** Asks for the names in texts through the page's form, as a browser without scripts does; their session. */
async function asked(page, texts, where = 'extract') {
  const form = new URLSearchParams({ page: where, task: 'ner', language: 'en', split: texts.length > 1 ? 'on' : '' });
  for (const type of ['person', 'location', 'organization', 'other', 'time', 'number']) form.append('types', type);
  form.set('input', texts.join('\n'));
  const answer = await page.request.post('/run', {
    data: form.toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: house.studio.url },
    maxRedirects: 0,
  });
  assert.equal(answer.status(), 303, await answer.text());
  const path = answer.headers().location;
  for (const deadline = Date.now() + 180_000; ; ) {
    const html = await (await page.request.get(path)).text();
    if (!/data-status="(queued|running)"/.test(html)) return path;
    assert.ok(Date.now() < deadline, 'the runs did not end');
    await page.waitForTimeout(300);
  }
}

let session;
const fifty = async (page) => (session ??= await asked(page, TEXTS));
const count = async (page, state) => Number(await the(page, `count-${state}`).textContent());

test('a review of 50 texts is done without the mouse', async () => {
  const page = await house.visitor();
  const path = await fifty(page);
  await open(page, path);
  // From the session to its review with the Tab key alone.
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement?.dataset.testid === 'to-review')) break;
  }
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/review$/);
  await the(page, 'queue').waitFor();
  assert.equal(await count(page, 'unreviewed'), 50);
  assert.equal(await count(page, 'failed'), 0);

  // The first record has the focus; its words light up in the text.
  const focused = () => page.evaluate(() => document.activeElement?.dataset.record ?? null);
  await page.waitForFunction(() => document.activeElement?.dataset.record);
  assert.ok((await page.locator('mark.lit').count()) > 0, 'the words of the record light up');

  // Record by record in the first text: wrong, taken back, wrong again; then the next record is right.
  const records = the(page, 'review-card').locator('[data-testid="record"]');
  await page.keyboard.press('2');
  assert.match(await records.first().getAttribute('class'), /wrong/);
  await page.keyboard.press('0');
  assert.match(await records.first().getAttribute('class'), /unjudged/);
  await page.keyboard.press('2');
  const before = await focused();
  if ((await records.count()) > 1) {
    await page.keyboard.press('ArrowDown');
    assert.notEqual(await focused(), before, 'arrows move');
    await page.keyboard.press('1');
  }
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('[data-testid="count-corrected"]').textContent === '1');

  // A missed record, typed; and a record corrected in place.
  await page.keyboard.press('a');
  await the(page, 'edit-words').waitFor();
  await page.keyboard.type('born');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('verb');
  await page.keyboard.press('Enter');
  await the(page, 'editor').waitFor({ state: 'detached' });
  await page.getByText('Added by you').waitFor();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('[data-testid="count-corrected"]').textContent === '2');
  await page.waitForFunction(() => document.activeElement?.dataset.record);
  await page.keyboard.press('e');
  await the(page, 'edit-type').waitFor();
  await page.keyboard.press('Escape');
  await the(page, 'editor').waitFor({ state: 'detached' });

  // J and K, N and P go from text to text.
  const row = () => page.locator('.queue-row[aria-current]').textContent();
  const here = await row();
  await page.keyboard.press('j');
  await page.waitForFunction((text) => document.querySelector('.queue-row[aria-current]').textContent !== text, here);
  await page.keyboard.press('p');
  await page.waitForFunction((text) => document.querySelector('.queue-row[aria-current]').textContent === text, here);

  // The rest is as it should be.
  for (let left = 48; left > 0; left--) {
    await page.keyboard.press(left % 2 ? 'Enter' : ' ');
    await page.waitForFunction((n) => Number(document.querySelector('[data-testid="count-unreviewed"]').textContent) === n, left - 1);
  }
  await the(page, 'all-done').waitFor();
  await quiet(page);
  await page.reload();
  await hydrated(page);
  assert.deepEqual([await count(page, 'accepted'), await count(page, 'corrected'), await count(page, 'unreviewed')], [48, 2, 0]);
});

test('a random sample tells precision and recall with their intervals', async () => {
  const page = await house.visitor();
  await open(page, `${await fifty(page)}/review`);
  await the(page, 'check').click();
  await page.waitForURL(/check=/);
  await hydrated(page);
  const line = await the(page, 'check-line').textContent();
  assert.match(line, /50 of 50 reviewed/);
  const [, low, high] = line.match(/Precision [\d.]+ % \(([\d.]+)–([\d.]+)\)/).map(Number);
  assert.ok(low > 0 && low < high && high <= 100, line);
  assert.match(await the(page, 'check-interval').textContent(), /over texts, not over single records: ratio estimator/);
});

test('scores tell each type, and every mistake leads to its text', async () => {
  const page = await house.visitor();
  await open(page, `${await fifty(page)}/scores`);
  const micro = await the(page, 'micro').first().locator('td').allTextContents();
  const [right, found, gold] = micro.slice(3).map(Number);
  assert.ok(found > right, 'one record was judged wrong');
  assert.ok(gold > right, 'one was missed');
  assert.equal(micro[0], ((100 * right) / found).toFixed(1));
  assert.equal(micro[1], ((100 * right) / gold).toFixed(1));
  const missed = the(page, 'mistake').filter({ hasText: 'born, verb' });
  await missed.locator('a').click();
  await page.waitForURL(/review\?text=/);
  await hydrated(page);
  assert.match(await the(page, 'review-card').textContent(), /verb/);
});

test('names of all texts are one graph; merges are kept and can be split', async () => {
  const page = await house.visitor();
  const path = await fifty(page);
  await open(page, `${path}/graph`);
  const node = (name) => the(page, 'graph').locator('g.node').filter({ hasText: name });
  assert.equal(await node('Ada Lovelace').count(), 1, 'one node for ten texts');
  await node('Ada Lovelace').focus();
  await page.keyboard.press('Enter');
  const places = the(page, 'places').locator('li');
  await places.first().waitFor();
  assert.ok((await places.count()) >= 5, 'the sentences it stands in');
  assert.match(await places.first().textContent(), /Ada Lovelace was born in \w+ in 19\d\d\./);

  const id = await node('Ada Lovelace').getAttribute('data-id');
  const option = await page.locator('#corpus-names option').evaluateAll((o) => o.map((e) => e.value).find((v) => v.startsWith('Marie Curie')));
  await the(page, 'merge-into').fill(option);
  await the(page, 'merge').click();
  await page.waitForFunction(() => ![...document.querySelectorAll('g.node .node-name')].some((e) => e.textContent === 'Ada Lovelace'));
  assert.match(await the(page, 'aliases').textContent(), /Ada Lovelace/);
  await quiet(page);
  await open(page, `${path}/graph`);
  assert.equal(await node('Ada Lovelace').count(), 0, 'the merge is kept');
  await node('Marie Curie').focus();
  await page.keyboard.press('Enter');
  await the(page, 'split').click();
  await page.waitForFunction(() => [...document.querySelectorAll('g.node .node-name')].some((e) => e.textContent === 'Ada Lovelace'));
  assert.equal(await node('Ada Lovelace').getAttribute('data-id'), id, 'ids are stable');
  await quiet(page);
});

test('texts about which base and tuned disagree most come first in an order of their own, which the address keeps', async () => {
  const page = await house.visitor();
  const path = await asked(page, ['It rained.', ...TEXTS.slice(0, 5), 'Ada Lovelace and Marie Curie met Alan Turing in Paris, Rome and Oslo in 1950.'], 'compare');
  await open(page, `${path}/review`);
  assert.equal(await the(page, 'order-doubt').getAttribute('aria-current'), 'true');
  await the(page, 'order-differs').click();
  await page.waitForURL(/order=differs/);
  await hydrated(page);
  const differs = await the(page, 'queue-row').evaluateAll((rows) =>
    rows.map((row) => {
      const tag = [...row.querySelectorAll('[data-testid="doubt"]')].find((e) => e.textContent.includes('models differ'));
      return tag ? Number(tag.textContent.match(/\d+/) ?? 1) : 0;
    }),
  );
  assert.equal(differs.length, 7);
  assert.deepEqual(differs, [...differs].sort((a, b) => b - a));
  assert.ok(differs[0] > differs[6], String(differs));
  for (const id of ['show-unreviewed', 'check', 'queue-row']) {
    assert.match(await the(page, id).first().getAttribute('href'), /order=differs/, id);
  }
  await open(page, `${await fifty(page)}/review`);
  assert.equal(await the(page, 'order-differs').count(), 0, 'one answer disagrees with nobody');
});

test('of two adapters the page of scores compares those that are chosen', async () => {
  const adapter = join(root, 'assets/adapters/ie-smollm2');
  const studio = await startStudio({ args: ['--adapter', `one=${adapter}`, '--adapter', `two=${adapter}`] });
  try {
    const page = await house.visitor({ studio });
    await open(page, '/compare');
    await the(page, 'input').fill('Ada Lovelace met Charles Babbage in London.');
    for (const name of ['one', 'two']) {
      await the(page, 'adapter').selectOption(name);
      await the(page, 'run').click();
      await the(page, 'output-lora').waitFor();
      await ended(page);
    }
    const session = new URL(page.url()).searchParams.get('session');
    await open(page, `/sessions/${session}/review`);
    await the(page, 'accept').click();
    await the(page, 'all-done').waitFor();
    await quiet(page);
    await open(page, `/sessions/${session}/scores`);
    assert.equal(await the(page, 'scores-tuned').count(), 2);
    assert.match(await the(page, 'differences').textContent(), /\+ two/, 'the last is compared with the base');
    const options = await the(page, 'compare-first').locator('option').allTextContents();
    const [one, two] = ['one', 'two'].map((name) => options.find((option) => option.endsWith(`+ ${name}`)));
    await the(page, 'compare-first').selectOption(one);
    await the(page, 'compare-second').selectOption(two);
    await the(page, 'compare-these').click();
    await page.waitForURL(/second=/);
    const row = await the(page, 'differences').locator('thead').textContent();
    assert.ok(row.indexOf('+ one') >= 0 && row.indexOf('+ one') < row.indexOf('+ two'), row);
    assert.match(await the(page, 'difference').first().textContent(), /\+0\.0/, 'they are the same adapter');
  } finally {
    await studio.stop();
  }
});

test('nothing found is not failed, and a session without texts has nothing to review', async () => {
  const page = await house.visitor({ expected: [/404/] });
  await open(page, `${await asked(page, ['It rained and it was cold.', 'The rest was silence.'])}/review`);
  assert.equal(await count(page, 'failed'), 0);
  const answer = await page.goto('/sessions/not-there/review');
  assert.equal(answer.status(), 404);
  assert.equal((await page.goto('/sessions/not-there/scores')).status(), 404);
  assert.equal((await page.goto('/sessions/not-there/graph')).status(), 404);
});

test('of two changes of a graph the later stays, also when the first is lost on its way; a link waits for both', async () => {
  const page = await house.visitor({ expected: [/ERR_FAILED/] });
  const path = await asked(page, ['Ada Lovelace met Charles Babbage in London.', 'Marie Curie came to Paris with Ada.']);
  await open(page, `${path}/graph`);
  const nodes = () => the(page, 'graph').locator('g.node .node-name').allTextContents();
  const node = (name) => the(page, 'graph').locator('g.node').filter({ hasText: name });
  const before = await nodes();
  assert.ok(before.includes('Ada Lovelace') && before.includes('Marie Curie'), String(before));
  const sent = [];
  let away = true;
  await page.route('**/_fn/set_graph_edits*', async (route) => {
    if (away) return route.abort();
    sent.push(route.request().postDataJSON().edits.apart.length);
    return route.continue();
  });
  await page.route('**/_fn/share*', (route) => {
    sent.push('share');
    return route.continue();
  });
  for (const name of ['Ada Lovelace', 'Marie Curie']) {
    await node(name).focus();
    await page.keyboard.press('Enter');
    await the(page, 'apart').click();
  }
  await the(page, 'error').filter({ hasText: 'cannot be reached' }).waitFor();
  assert.equal(await the(page, 'apart-list').locator('li').count(), 2, 'nothing is taken back');
  away = false;
  await page.getByRole('main').locator(`a[href="${path}"]`).click();
  await the(page, 'share').click();
  await the(page, 'share-link').waitFor();
  assert.deepEqual(sent, [1, 2, 'share']);
  await open(page, `${path}/graph`);
  assert.equal(await the(page, 'apart-list').locator('li').count(), 2);
});

test('of two judgements in quick succession the later stays, also when the first is lost on its way', async () => {
  const page = await house.visitor({ expected: [/ERR_FAILED/] });
  const path = await asked(page, ['Ada Lovelace met Charles Babbage in London.']);
  await open(page, `${path}/review`);
  await page.waitForFunction(() => document.activeElement?.dataset.record);
  const sent = [];
  let tries = 0;
  await page.route('**/_fn/judge', async (route) => {
    tries += 1;
    if (tries === 1) return route.abort();
    const { verdict } = route.request().postDataJSON().judgement;
    // The first would arrive last if they were sent side by side.
    if (verdict === 'right') await new Promise((resolve) => setTimeout(resolve, 500));
    sent.push(verdict);
    return route.continue();
  });
  await page.keyboard.press('1');
  await page.keyboard.press('2');
  await the(page, 'error').filter({ hasText: 'cannot be reached' }).waitFor();
  await the(page, 'error').waitFor({ state: 'detached' });
  while (sent.length < 2) await page.waitForTimeout(50);
  await quiet(page);
  assert.deepEqual(sent, ['right', 'wrong']);
  await page.unroute('**/_fn/judge');
  await open(page, `${path}/review`);
  assert.match(await the(page, 'record').first().getAttribute('class'), /wrong/);
});

/** The session of a batch of 105 texts, and these. */
const MANY = PEOPLE.flatMap((person) => PLACES.flatMap((place) => [1, 2, 3].map((n) => `${person} came to ${place} ${n} times.`))).slice(0, 105);
let batch;
async function large(page) {
  if (batch) return batch;
  await page.goto('/batch');
  await the(page, 'pasted').fill(MANY.join('\n'));
  await the(page, 'upload').click();
  await the(page, 'schema').selectOption('people-places-organizations-en');
  await the(page, 'run-all').click();
  await the(page, 'batch-done').filter({ hasText: '105 of 105 texts' }).waitFor({ timeout: 180_000 });
  return (batch = `/sessions/${new URL(page.url()).searchParams.get('session')}`);
}

test('a refusal at the end of a page is seen there; who goes on stays among those that are open', async () => {
  const page = await house.visitor({ expected: [/status of 404/] });
  const review = `${await large(page)}/review`;
  await open(page, `${review}?show=unreviewed`);
  assert.equal(await the(page, 'page').textContent(), '1–100 of 105');
  await the(page, 'page-next').click();
  await the(page, 'page').filter({ hasText: '101–105 of 105' }).waitFor();
  for (let i = 0; i < 4; i += 1) await page.keyboard.press('j');
  const row = () => page.locator('.queue-row[aria-current]').textContent();
  assert.equal(await page.locator('li:last-child > .queue-row[aria-current]').count(), 1);
  const last = await row();
  // Sent from here, so that nothing but this goes out.
  await page.route('**/_fn/accept*', async (route) => {
    const asked = route.request().postDataJSON();
    const response = await route.fetch({ postData: { ...asked, document: 'gone' } });
    return route.fulfill({ response });
  });
  await page.keyboard.press('Enter');
  await the(page, 'error').waitFor();
  await quiet(page);
  assert.equal(await row(), last);
  assert.equal(await count(page, 'unreviewed'), 105, 'it is still to be gone through');
  await page.unroute('**/_fn/accept*');

  await page.keyboard.press('Enter');
  await page.waitForURL(/text=/);
  await the(page, 'page').filter({ hasText: '1–100 of 104' }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get('show'), 'unreviewed');
  await quiet(page);
  await open(page, `${review}?show=accepted`);
  await the(page, 'reopen').click();
  await quiet(page);
});

test('the review of a large batch goes on from page to page, with the keyboard and without scripts', async () => {
  const page = await house.visitor();
  const review = `${await large(page)}/review`;

  const plain = await house.visitor({ javaScriptEnabled: false });
  await plain.goto(review);
  assert.equal(await the(plain, 'page').textContent(), '1–100 of 105');
  await the(plain, 'page-next').click();
  assert.equal(await the(plain, 'page').textContent(), '101–105 of 105');
  assert.equal(await the(plain, 'queue-row').count(), 5);
  await the(plain, 'page-before').click();
  assert.equal(await the(plain, 'page').textContent(), '1–100 of 105');

  await open(page, review);
  assert.equal(await count(page, 'unreviewed'), 105, 'those of all pages');
  for (let left = 104; left >= 0; left--) {
    await page.keyboard.press('Enter');
    await page.waitForFunction((n) => document.querySelector('[data-testid="count-unreviewed"]')?.textContent === String(n), left);
    if (left === 5) await the(page, 'page').filter({ hasText: '101–105 of 105' }).waitFor();
  }
  await the(page, 'all-done').waitFor();
  await quiet(page);
  // Back over the border of the page, and forth again.
  const row = page.locator('.queue-row[aria-current]');
  for (let i = 0; i < 4; i += 1) await page.keyboard.press('k');
  assert.equal(await page.locator('li:first-child > .queue-row[aria-current]').count(), 1);
  const border = await row.textContent();
  await page.keyboard.press('k');
  await the(page, 'page').filter({ hasText: '1–100 of 105' }).waitFor();
  await page.locator('li:last-child > .queue-row[aria-current]').waitFor();
  await page.keyboard.press('j');
  await the(page, 'page').filter({ hasText: '101–105 of 105' }).waitFor();
  assert.equal(await row.textContent(), border);
  await open(page, `${review}?show=accepted`);
  assert.deepEqual([await count(page, 'accepted'), await count(page, 'unreviewed')], [105, 0]);
  assert.equal(await the(page, 'page').textContent(), '1–100 of 105');
});

test('a text of a batch that failed is in its review with the reason, and is asked again from there', async () => {
  const page = await house.visitor();
  await page.goto('/batch');
  const long = 'Ada Lovelace met Charles Babbage. '.repeat(6000);
  const csv = `id,text\na,Ada Lovelace met Charles Babbage in London.\nb,${long}\nc,Marie Curie came to Paris.\n`;
  await the(page, 'file').setInputFiles({ name: 'one too long.csv', mimeType: 'text/csv', buffer: Buffer.from(csv) });
  await the(page, 'upload').click();
  await the(page, 'schema').selectOption('people-places-organizations-en');
  await the(page, 'run-all').click();
  await the(page, 'batch-done').filter({ hasText: '3 of 3 texts' }).waitFor({ timeout: 60_000 });
  const review = `/sessions/${new URL(page.url()).searchParams.get('session')}/review`;

  await open(page, review);
  assert.deepEqual([await count(page, 'failed'), await count(page, 'unreviewed')], [1, 2]);
  assert.equal(await the(page, 'queue-row').count(), 3);
  const first = the(page, 'queue-row').first();
  assert.match(await first.getAttribute('class'), /failed/, 'it stands first');
  assert.equal((await the(page, 'doubt').first().textContent()).trim(), 'failed');
  assert.equal(await first.getAttribute('aria-current'), null, 'the review begins with what can be gone through');
  await page.keyboard.press('k');
  await the(page, 'failed-card').waitFor();
  assert.match(await the(page, 'failed-reason').textContent(), /has 20\d{4} characters, far more than the model can read/);
  assert.equal(await the(page, 'accept').isVisible(), false);
  await page.keyboard.press('Enter');
  await the(page, 'error').filter({ hasText: 'no answer to accept' }).waitFor();
  assert.equal(await count(page, 'failed'), 1);

  // The others are gone through; nothing leads back to it.
  await page.keyboard.press('j');
  for (const left of [1, 0]) {
    await page.keyboard.press('Enter');
    await page.waitForFunction((n) => document.querySelector('[data-testid="count-unreviewed"]').textContent === String(n), left);
  }
  await the(page, 'all-done').waitFor();
  assert.equal(await the(page, 'failed-card').count(), 0);
  await quiet(page);

  const plain = await house.visitor({ javaScriptEnabled: false, locale: 'zh-CN' });
  await plain.goto(`${review}?show=failed`);
  assert.equal(await the(plain, 'queue-row').count(), 1);
  assert.match(await the(plain, 'failed-reason').textContent(), /有 20\d{4} 个字符/);
  await the(plain, 'retry').click();
  await plain.waitForURL(/\/batch\?session=/);
  await the(plain, 'only-failed').waitFor();
});

test('a link to a large batch shows it page by page, also without scripts, and takes it away in one file', async () => {
  const author = await house.visitor();
  const session = await large(author);
  // A batch is large from 5,000 texts on, which would take minutes to read; texts that no row has are as many to it.
  const more = `WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
    INSERT INTO document (id, owner_id, session_id, text, created_at) SELECT 'more ' || n, 1, '${session.split('/').pop()}', '', 0 FROM n`;
  const script = 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()';
  execFileSync('python3', ['-c', script, join(house.studio.dataDir, 'knowlm.db'), more]);
  await open(author, session);
  await the(author, 'share').click();
  const link = await the(author, 'share-link').getAttribute('href');
  const first = (page) => page.locator('[data-testid="session-items"] article').first().textContent();

  const reader = await house.visitor({ javaScriptEnabled: false });
  await reader.goto(link);
  assert.equal(await the(reader, 'page').first().textContent(), 'Page 1 of 5 · 105 texts');
  assert.equal(await reader.locator('[data-testid="session-items"] article').count(), 25);
  assert.ok((await first(reader)).includes(MANY[0].slice(-14)), 'in the order of the file');
  await the(reader, 'page-next').first().click();
  assert.equal(await the(reader, 'page').last().textContent(), 'Page 2 of 5 · 105 texts');
  assert.ok((await first(reader)).includes(MANY[25].slice(-14)));
  await the(reader, 'page-before').last().click();
  assert.equal(await the(reader, 'page-before').count(), 0);

  const page = await house.visitor();
  await open(page, `${new URL(link).pathname}?page=5`);
  assert.equal(await page.locator('[data-testid="session-items"] article').count(), 5);
  assert.equal(await the(page, 'page-next').count(), 0);
  await the(page, 'page-before').first().click();
  await the(page, 'page').filter({ hasText: 'Page 4 of 5' }).first().waitFor();
  assert.ok((await first(page)).includes(MANY[75].slice(-14)));

  // All of it, by who has the link and by its author.
  const menus = await the(page, 'export-menu').count();
  assert.ok(menus > 1, `of all texts and of single ones: ${menus}`);
  for (const base of [new URL(link).pathname, session]) {
    const taken = (format) => page.request.get(`${base}/export?format=${format}&judgements=on`);
    const json = await (await taken('json')).json();
    assert.deepEqual(json.map((text) => text.text), MANY, base);
    const lines = (await (await taken('jsonl')).text()).split('\n').filter(Boolean);
    assert.deepEqual(lines.map((line) => JSON.parse(line)), json);
    const table = await (await taken('csv')).text();
    assert.equal(table.match(/^id,kind,type,/gm).length, 1);
    assert.match(await (await taken('markdown')).text(), /^# .+\n\n## /);
    const names = [...(await (await taken('nodes')).text()).matchAll(/^n[0-9a-f]{16},([^,]+),/gm)].map(([, name]) => name);
    assert.ok(PEOPLE.some((person) => names.includes(person)), `${names}`);
    assert.match(await (await taken('svg')).text(), /^<svg /);
    const refused = await taken('html');
    assert.equal(refused.status(), 400);
    assert.match(await refused.text(), /too many texts here for one html export\. These formats take them: json, jsonl/);
  }
  const card = the(page, 'export-menu').last();
  const text = await card.locator('input[name="text"]').getAttribute('value');
  const one = await (await page.request.get(`${new URL(link).pathname}/export?format=json&text=${text}`)).json();
  assert.equal(one.length, 1);
  assert.ok(MANY.slice(75, 100).includes(one[0].text));
});
