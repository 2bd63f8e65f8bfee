// Everything that was run is saved: found again, renamed, deleted, shared.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ended, hydrated, open, openHouse, parameters, quiet, the } from './lib/house.mjs';

const house = openHouse();

/** Completes a prompt and returns the address of its session. */
async function completed(page, prompt, values = { max_new_tokens: 8, seed: 1 }) {
  await open(page, '/pretrain');
  await the(page, 'prompt').fill(prompt);
  await parameters(page, values);
  await the(page, 'run').click();
  await the(page, 'this-session').waitFor();
  return the(page, 'this-session').getAttribute('href');
}

const titles = (page) => the(page, 'session-list').locator('li a').allTextContents();

test('the newest session stands first, and opens as it was', async () => {
  const page = await house.visitor();
  await completed(page, 'An older prompt about lighthouses');
  await ended(page);
  const session = await completed(page, 'A newer prompt about volcanoes');
  await ended(page);
  const text = await the(page, 'output').textContent();

  await open(page, '/sessions');
  const first = the(page, 'session-list').getByRole('link').first();
  assert.equal(await first.getAttribute('href'), session);
  await first.click();
  await page.waitForURL(`**${session}`);
  const items = the(page, 'session-items');
  await items.waitFor();
  assert.ok((await items.textContent()).includes('A newer prompt about volcanoes'));
  assert.ok((await items.textContent()).includes(text.trim()));
});

test('sessions are found by words of their texts', async () => {
  const page = await house.visitor();
  await completed(page, 'The quick brown zebrafish jumps');
  await ended(page);
  await completed(page, 'Nothing of the kind here');
  await ended(page);
  await open(page, '/sessions');
  await the(page, 'search').fill('zebrafish');
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="session-list"] li').length === 1);
  assert.match(await the(page, 'session-list').textContent(), /zebrafish/);
  await the(page, 'search').fill('no such words anywhere');
  await the(page, 'no-sessions').waitFor();
  // % and _ are letters like any others.
  await the(page, 'search').fill('%');
  await the(page, 'no-sessions').waitFor();
});

test('later runs of a page join its session until a new one is opened', async () => {
  const page = await house.visitor();
  const session = await completed(page, 'First of two');
  await ended(page);
  await the(page, 'prompt').fill('Second of two');
  await the(page, 'run').click();
  await page.getByText(/earlier answers: 1/).waitFor();
  await ended(page);
  await page.goto(session);
  assert.equal(await the(page, 'session-items').locator('article').count(), 2);

  await page.goBack();
  await hydrated(page);
  await the(page, 'new-session').click();
  await page.waitForURL('**/pretrain');
  await hydrated(page);
  assert.equal(await the(page, 'prompt').inputValue(), '');
  assert.equal(new URL(page.url()).search, '');
});

test('a session is renamed where its title stands', async () => {
  const page = await house.visitor();
  const session = await completed(page, 'To be renamed');
  await ended(page);
  await open(page, session);
  await the(page, 'session-title').fill('  My finest <b>run</b>  ');
  await the(page, 'session-title').press('Enter');
  await quiet(page);
  await open(page, '/sessions');
  assert.ok((await titles(page)).includes('My finest <b>run</b>'), 'trimmed, and never read as HTML');
});

test('a deleted session is gone, and undo brings it back', async () => {
  const page = await house.visitor();
  await completed(page, 'To be deleted and brought back');
  await ended(page);
  await open(page, '/sessions');
  const [title] = await titles(page);
  const count = (await titles(page)).length;
  await the(page, 'delete').first().click();
  await the(page, 'deleted').waitFor();
  await page.waitForFunction((n) => document.querySelectorAll('[data-testid="session-list"] li').length === n, count - 1);
  await the(page, 'undo').click();
  await page.waitForFunction((n) => document.querySelectorAll('[data-testid="session-list"] li').length === n, count);
  assert.equal((await titles(page))[0], title);
});

test('closing the page stops nothing, and a reload shows the run going on', async () => {
  const page = await house.visitor();
  const long = { temperature: 1.3, top_p: 1, top_k: 0, max_new_tokens: 1500, seed: 7 };
  const session = await completed(page, 'A very long story:', long);
  await page.waitForFunction(() => document.querySelector('[data-testid="output"]').textContent.length > 40);
  const before = await the(page, 'output').textContent();
  await page.close();

  const again = await house.visitor();
  await open(again, session);
  assert.equal(await the(again, 'run-line').getAttribute('data-status'), 'running');
  const text = () => again.locator('.completion .text').textContent();
  const found = await text();
  assert.ok(found.startsWith(before), 'what was there is there');
  await again.waitForFunction((n) => document.querySelector('.completion .text').textContent.length > n + 20, found.length);
  await the(again, 'stop').click();
  const [end] = await ended(again, { timeout: 10_000 });
  assert.equal(end.status, 'cancelled');
});

test('a shared link shows the session to anybody, without scripts, until it is revoked', async () => {
  const author = await house.visitor({ permissions: ['clipboard-read', 'clipboard-write'] });
  const session = await completed(author, 'A prompt worth sharing');
  await ended(author);
  const answer = (await the(author, 'output').textContent()).trim();

  await the(author, 'share').click();
  const link = await the(author, 'share-link').getAttribute('href');
  assert.match(link, /\/s\/[A-Za-z0-9_-]{22,}$/, 'at least 128 random bits');
  assert.match(await the(author, 'local-only').textContent(), /Only this computer can open this link/);
  await the(author, 'share-note').fill('Look at the <i>second</i> line.');
  await the(author, 'share-note').press('Enter');
  await the(author, 'note-saved').waitFor();

  const reader = await house.visitor({ javaScriptEnabled: false, expected: [/status of 404/] });
  const response = await reader.goto(link);
  assert.equal(response.status(), 200);
  const shown = await the(reader, 'snapshot').textContent();
  assert.ok(shown.includes('A prompt worth sharing') && shown.includes(answer));
  assert.equal(await the(reader, 'note').textContent(), 'Look at the <i>second</i> line.');
  for (const id of ['delete', 'revoke', 'share', 'mark-right', 'stop']) {
    assert.equal(await the(reader, id).count(), 0, `a reader finds no "${id}"`);
  }

  // Frozen: what the author does later stays private.
  await the(author, 'prompt').fill('A later and private prompt');
  await the(author, 'run').click();
  await author.getByText(/earlier answers: 1/).waitFor();
  await ended(author);
  await reader.reload();
  assert.ok(!(await reader.content()).includes('A later and private prompt'));

  await open(author, session);
  await the(author, 'revoke').click();
  await the(author, 'open-links').waitFor({ state: 'detached' });
  const gone = await reader.goto(link);
  assert.equal(gone.status(), 404);
  assert.ok((await the(reader, 'page-error').textContent()).length > 20, 'a sentence says why');
});

test('a session can be saved as one HTML file that needs nothing else', async () => {
  const page = await house.visitor();
  const session = await completed(page, 'Saved as a file');
  await ended(page);
  await open(page, session);
  const [download] = await Promise.all([page.waitForEvent('download'), the(page, 'export').click()]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  const html = Buffer.concat(chunks).toString('utf8');
  assert.match(download.suggestedFilename(), /\.html$/);
  assert.ok(html.includes('Saved as a file'));
  assert.doesNotMatch(html, /<script|<link[^>]+href="(?!data:)|src="(?!data:)/, 'no scripts, nothing to load');
});

test('without scripts a session is renamed, its link is closed, and it is deleted and brought back', async () => {
  const author = await house.visitor();
  const session = await completed(author, 'Plain forms');
  await ended(author);
  const page = await house.visitor({ javaScriptEnabled: false, expected: [/status of 404/] });
  await page.goto(session);
  await page.locator('details.rename summary').click();
  await page.getByRole('textbox', { name: 'Title', exact: true }).fill('Plain <b>forms</b>, renamed');
  await the(page, 'title-save').click();
  assert.equal(await the(page, 'session-title').textContent(), 'Plain <b>forms</b>, renamed');

  await the(page, 'share').click();
  const link = await the(page, 'share-link').getAttribute('href');
  assert.match(await the(page, 'local-only').textContent(), /Only this computer can open this link/);
  assert.equal((await page.goto(link)).status(), 200);
  await page.goto(session);
  await the(page, 'revoke').click();
  await page.waitForURL(`**${session}`);
  assert.equal(await the(page, 'open-links').count(), 0);
  assert.equal((await page.goto(link)).status(), 404);

  await page.goto('/sessions');
  assert.equal((await titles(page))[0], 'Plain <b>forms</b>, renamed');
  await the(page, 'delete').first().click();
  await page.getByRole('heading', { name: 'The session is deleted' }).waitFor();
  assert.equal((await page.request.get(session)).status(), 404);
  await the(page, 'undo').click();
  await page.waitForURL('**/sessions');
  assert.ok((await titles(page)).includes('Plain <b>forms</b>, renamed'));
});
