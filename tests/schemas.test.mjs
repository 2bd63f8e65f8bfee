// Schemas: started from ready ones, edited, saved in versions, passed on as files.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { hydrated, open, openHouse, quiet, reload, the } from './lib/house.mjs';

const house = openHouse();

const names = (page, kind) => page.locator(`[data-testid="${kind}"] > .entry-rows > .entry > .entry-line [data-testid="entry-name"]`);
const values = (fields) => fields.evaluateAll((inputs) => inputs.map((input) => input.value));

async function add(page, kind, text) {
  await page.locator(`[data-testid="${kind}"] [data-testid="add-${kind}"]`).fill(text);
  await page.locator(`[data-testid="${kind}"] [data-testid="add-${kind}"]`).press('Enter');
}

async function save(page) {
  await the(page, 'save').click();
  await quiet(page);
}

/** A saved schema of a few types; the page shows it. */
async function saved(page, name) {
  await open(page, '/schemas/new');
  await the(page, 'name').fill(name);
  await add(page, 'entities', 'person, 机构；place\ndate');
  await save(page);
  await page.waitForURL(/\/schemas\/[0-9a-f-]{36}$/);
  await names(page, 'entities').nth(3).waitFor();
}

test('a ready schema is a place to start from, and stays as it is', async () => {
  const page = await house.visitor();
  await open(page, '/schemas');
  const ready = the(page, 'ready').filter({ hasText: 'Finance' }).first();
  assert.match(await ready.textContent(), /entity types: 6 · relations: 3 · event types: 4/);
  await ready.locator('[data-testid="start-from"]').click();
  await the(page, 'schema-editor').waitFor();
  assert.equal((await values(names(page, 'entities'))).length, 6);
  await the(page, 'name').fill('Our finance');
  await add(page, 'entities', 'spaceship');
  const new_ = page.locator('.entry.untaught').filter({ has: page.locator('[data-testid="not-taught"]') });
  assert.ok((await new_.count()) > 0, 'what was not taught is marked');
  await save(page);
  await page.waitForURL(/\/schemas\/[0-9a-f-]{36}$/);

  await open(page, '/schemas');
  assert.match(await the(page, 'schema-list').textContent(), /Our finance v1/);
  assert.match(await the(page, 'ready').filter({ hasText: 'Finance' }).first().textContent(), /entity types: 6/);
});

test('lists are pasted; entries are moved by key and by button, described and taken out', async () => {
  const page = await house.visitor();
  await saved(page, 'Pasted');
  const entities = names(page, 'entities');
  assert.deepEqual(await values(entities), ['person', '机构', 'place', 'date']);
  await entities.nth(3).press('Alt+ArrowUp');
  assert.deepEqual(await values(entities), ['person', '机构', 'date', 'place']);
  await page.waitForFunction(() => document.activeElement?.value === 'date', undefined, { timeout: 2000 });
  await the(page, 'entities').locator('[data-testid="down"]').first().click();
  assert.deepEqual(await values(entities), ['机构', 'person', 'date', 'place']);
  await the(page, 'entities').locator('[data-testid="remove"]').nth(3).click();
  assert.deepEqual(await values(entities), ['机构', 'person', 'date']);

  await the(page, 'entities').locator('[data-testid="more"]').first().click();
  await page.getByRole('textbox', { name: 'Meaning' }).fill('Companies and offices');
  await add(page, 'relations', 'founder');
  await the(page, 'relations').locator('[data-testid="more"]').click();
  await page.getByRole('combobox', { name: 'Types of the head' }).fill('机构');
  await add(page, 'events', 'merger: buyer, seller');
  assert.deepEqual(await values(names(page, 'events')), ['merger']);
  await save(page);
  await page.locator('[data-testid="versions"] li').nth(1).waitFor();

  await reload(page);
  const text = JSON.parse(await the(page, 'schema-text').inputValue());
  assert.deepEqual(text.entities, [{ name: '机构', description: 'Companies and offices' }, 'person', 'date']);
  assert.deepEqual(text.relations, [{ name: 'founder', head: ['机构'] }]);
  assert.deepEqual(text.events, { merger: ['buyer', 'seller'] });
});

test('every version is kept and can be gone back to', async () => {
  const page = await house.visitor();
  await saved(page, 'Versions');
  await add(page, 'entities', 'color');
  await save(page);
  await page.locator('[data-testid="versions"] li').nth(1).waitFor();
  await page.locator('[data-testid="versions"] li').nth(1).locator('[data-testid="restore"]').click();
  await the(page, 'old-version').waitFor();
  assert.deepEqual(await values(names(page, 'entities')), ['person', '机构', 'place', 'date'], 'as the server drew them');
  await hydrated(page);
  await save(page);
  await page.locator('[data-testid="versions"] li').nth(2).waitFor();
  await open(page, '/schemas');
  assert.match(await the(page, 'schema-list').textContent(), /Versions v3/);
});

test('a schema that cannot be read is refused with the place, and nothing typed is lost', async () => {
  const page = await house.visitor({ expected: [/status of 400/] });
  await saved(page, 'Broken');
  await the(page, 'as-text').locator('summary').click();
  const broken = '{"entities": ["a", {"nam": "b"}]}';
  await the(page, 'schema-text').fill(broken);
  await the(page, 'take-over').click();
  await the(page, 'error').waitFor();
  assert.match(await the(page, 'error').textContent(), /entities\[1\]: has no "name"/);
  assert.equal(await the(page, 'schema-text').inputValue(), broken);
  assert.deepEqual(await values(names(page, 'entities')), ['person', '机构', 'place', 'date']);

  await the(page, 'schema-text').fill('entities:\n  - a\nevents:\n  merger: [buyer]\n');
  await the(page, 'take-over').click();
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="entities"] > .entry-rows > .entry').length === 1);
  assert.deepEqual(await values(names(page, 'events')), ['merger'], 'YAML is read too');
});

test('a schema is passed on as a file that the command line and the editor read', async () => {
  const page = await house.visitor();
  await saved(page, 'To send');
  await open(page, '/schemas');
  const row = page.locator('[data-testid="schema-list"] li').filter({ hasText: 'To send' });
  for (const kind of ['json', 'yaml']) {
    const [download] = await Promise.all([page.waitForEvent('download'), row.locator(`[data-testid="download-${kind}"]`).click()]);
    assert.equal(download.suggestedFilename(), `To send v1.${kind}`);
    const text = readFileSync(await download.path(), 'utf8');
    assert.match(text, /person/);
    await open(page, '/schemas/new');
    await the(page, 'as-text').locator('summary').click();
    await the(page, 'open-file').setInputFiles({ name: `sent.${kind}`, mimeType: 'text/plain', buffer: Buffer.from(text) });
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="entities"] > .entry-rows > .entry').length === 4);
    await open(page, '/schemas');
  }
});

test('a schema is shared by a link that shows one version, is taken over by whoever reads it, and is closed again', async () => {
  const page = await house.visitor();
  await saved(page, 'To share');
  await reload(page);
  await the(page, 'share').click();
  const link = new URL(await the(page, 'share-link').getAttribute('href')).pathname;
  assert.match(link, /^\/s\/schema\/[\w-]{32}$/);
  assert.match(await the(page, 'open-links').textContent(), /Shared by link v1 · /);
  assert.match(await the(page, 'local-only').textContent(), /Only this computer can open this link/);
  await add(page, 'entities', 'color');
  await save(page);

  const reader = await house.visitor({ javaScriptEnabled: false, expected: [/status of 404/] });
  await reader.goto(link);
  assert.match(await reader.locator('h1').textContent(), /To share v1/);
  assert.deepEqual(await the(reader, 'type').allTextContents().then((all) => all.map((text) => text.trim())), ['person', '机构', 'place', 'date'], 'as it was');
  const file = await (await reader.request.get(`${link}/download.json`)).json();
  assert.deepEqual(file.entities, ['person', '机构', 'place', 'date']);
  assert.match(await (await reader.request.get(`${link}/download.yaml`)).text(), /机构/);
  await the(reader, 'take').click();
  await reader.waitForURL(/\/schemas\/[0-9a-f-]{36}$/);
  assert.notEqual(reader.url(), page.url(), 'a copy of their own');
  assert.equal(await the(reader, 'name').inputValue(), 'To share');

  await the(page, 'revoke').click();
  await the(page, 'open-links').waitFor({ state: 'detached' });
  const closed = await reader.goto(link);
  assert.equal(closed.status(), 404);
  assert.match(await the(reader, 'page-error').textContent(), /closed by its author/);
  assert.equal((await reader.request.get(`${link}/download.json`)).status(), 404);
});

test('without scripts a schema is shared, with what to do where only this computer opens the link, and the link is closed', async () => {
  const author = await house.visitor();
  await saved(author, 'Plain link');
  const page = await house.visitor({ javaScriptEnabled: false, expected: [/status of 404/] });
  await page.goto(author.url());
  await the(page, 'share').click();
  const link = await the(page, 'share-link').getAttribute('href');
  const local = the(page, 'local-only');
  assert.match(await local.textContent(), /^Only this computer can open this link\. .*--public-url/);
  const file = await page.request.get(await local.locator('a').getAttribute('href'));
  assert.match(file.headers()['content-disposition'], /^attachment; filename="schema\.json"; filename\*=UTF-8''Plain%20link/);
  assert.equal((await page.goto(link)).status(), 200);
  await page.goto(author.url());
  assert.match(await the(page, 'open-links').textContent(), /Shared by link v1/);
  await the(page, 'revoke').click();
  await page.waitForURL(author.url());
  assert.equal(await the(page, 'open-links').count(), 0);
  assert.equal((await page.goto(link)).status(), 404);
});

test('a schema gets another name; its versions stay', async () => {
  const page = await house.visitor({ expected: [/status of 400/] });
  await saved(page, 'Before');
  await open(page, '/schemas');
  const row = (name) => page.locator('[data-testid="schema-list"] li').filter({ hasText: name });
  const rename = async (from, to) => {
    await row(from).locator('[data-testid="rename"] summary').click();
    await row(from).locator('[data-testid="new-name"]').fill(to);
    await row(from).locator('[data-testid="new-name"]').press('Enter');
  };
  await rename('Before', ' 之后 ');
  await row('之后 v1').waitFor();
  assert.equal(await row('Before').count(), 0);
  await rename('之后', '   ');
  await the(page, 'error').waitFor();
  await reload(page);
  assert.match(await row('之后').textContent(), /之后 v1/);
});

test('a schema is deleted, and brought back', async () => {
  const page = await house.visitor();
  await saved(page, 'Gone');
  await open(page, '/schemas');
  const row = page.locator('[data-testid="schema-list"] li').filter({ hasText: 'Gone' });
  await row.locator('[data-testid="delete"]').click();
  await row.waitFor({ state: 'detached' });
  await the(page, 'undo').click();
  await row.waitFor();
});

test('without scripts a schema is written as text, saved, and what cannot be read comes back', async () => {
  const page = await house.visitor({ javaScriptEnabled: false, expected: [/status of 400/] });
  await page.goto('/schemas/new?from=finance-en');
  await the(page, 'name').fill('By hand');
  await the(page, 'as-text').locator('summary').click();
  await the(page, 'schema-text').fill('entities: [person, place]');
  await the(page, 'save').click();
  await page.waitForURL(/\/schemas\/[0-9a-f-]{36}$/);
  assert.deepEqual(JSON.parse(await the(page, 'schema-text').inputValue()).entities, ['person', 'place']);

  await the(page, 'as-text').locator('summary').click();
  await the(page, 'schema-text').fill('{"entities": "person"}');
  await the(page, 'save').click();
  await page.waitForLoadState();
  const said = await page.locator('main').textContent();
  assert.match(said, /entities: must be a list of names/);
  assert.match(said, /\{"entities": "person"\}/, 'nothing typed is lost');

  await page.goto('/schemas');
  await page.locator('[data-testid="rename"] summary').first().click();
  await the(page, 'new-name').first().fill('By two hands');
  await the(page, 'rename-save').first().click();
  await page.waitForURL('**/schemas');
  const row = page.locator('[data-testid="schema-list"] li').filter({ hasText: 'By two hands' });
  await row.locator('[data-testid="delete"]').click();
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.waitForURL('**/schemas');
  assert.equal(await row.count(), 1);
});
