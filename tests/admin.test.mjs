// The page of the model: adapters are loaded and unloaded while the program runs, and chosen for a run.
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { ended, examples, open, openHouse, quiet, the } from './lib/house.mjs';
import { root } from './lib/studio.mjs';

const house = openHouse();
const SHIPPED = 'ie-smollm2';

/** Puts an adapter into the data folder, as a person copies it there. */
function copyAdapter() {
  cpSync(join(root, 'assets/adapters', SHIPPED), join(house.studio.dataDir, 'adapters/second'), { recursive: true });
}

const loaded = (page) => the(page, 'adapters-loaded').locator('li');
const names = async (page) => loaded(page).evaluateAll((all) => all.map((li) => li.dataset.adapter));
const found = (page, name) => the(page, 'adapters-found').locator(`li[data-adapter="${name}"]`);

test('the owner sees the model, loads an adapter, answers with it and unloads it', async () => {
  copyAdapter();
  const [example] = examples().filter((e) => /^[\x00-\x7f]+$/.test(e.text));
  const page = await house.visitor();
  await open(page, '/');
  await page.locator('nav a[href="/admin"]').click();
  await the(page, 'model').waitFor();
  assert.match(await the(page, 'model').textContent(), /SmolLM2-135M-Instruct.*Q4_1/);
  assert.deepEqual(await names(page), [SHIPPED]);
  assert.match(await loaded(page).first().textContent(), /default.*Entities \(English, 中文\)/s);

  await the(found(page, 'second'), 'load').click();
  await the(page, 'adapters-loaded').locator('li[data-adapter="second"]').waitFor();
  assert.deepEqual(await names(page), [SHIPPED, 'second']);
  assert.equal(await the(found(page, 'second'), 'load').count(), 0);

  await open(page, '/lora');
  assert.deepEqual(await the(page, 'adapter').locator('option').allTextContents(), [SHIPPED, 'second']);
  await the(page, 'adapter').selectOption('second');
  await the(page, 'input').fill(example.text);
  await the(page, 'run').click();
  assert.deepEqual((await ended(page)).map((run) => run.status), ['finished']);
  assert.match(await the(page, 'output').textContent(), /second/, 'the answer says who gave it');
  await page.reload();
  await quiet(page);
  assert.equal(await the(page, 'adapter').inputValue(), 'second', 'the session goes on with it');

  await open(page, '/admin');
  await the(page.locator('li[data-adapter="second"]'), 'unload').click();
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="adapters-loaded"] li').length === 1);
  await open(page, '/lora');
  assert.equal(await the(page, 'adapter').count(), 0, 'one adapter is no choice');
});

test('the same works without scripts', async () => {
  const page = await house.visitor({ javaScriptEnabled: false });
  await page.goto('/admin');
  const sent = async (button) => {
    const [answer] = await Promise.all([
      page.waitForResponse((r) => r.request().method() === 'POST'),
      button.click(),
    ]);
    assert.equal(answer.status(), 303);
    await page.waitForLoadState();
  };
  await sent(the(found(page, 'second'), 'load'));
  assert.deepEqual(await names(page), [SHIPPED, 'second']);
  await page.goto('/compare');
  await the(page, 'adapter').selectOption('second');
  await the(page, 'input').fill('Ada Lovelace worked with Charles Babbage in London.');
  await the(page, 'param-max-new-tokens').fill('24');
  await sent(the(page, 'run'));
  assert.match(await page.locator('main').textContent(), /second/);
  await page.goto('/admin');
  await sent(the(page.locator('[data-testid="adapters-loaded"] li[data-adapter="second"]'), 'unload'));
  assert.deepEqual(await names(page), [SHIPPED]);
});

test('only folders that lie where adapters are sought can be named', async () => {
  for (const name of ['../../etc', '/', join(root, 'assets/adapters', SHIPPED), 'nothing', '']) {
    const answer = await fetch(`${house.studio.url}/admin/load`, {
      method: 'POST',
      body: new URLSearchParams({ name }),
      headers: { origin: house.studio.url, accept: 'text/html' },
      redirect: 'manual',
    });
    assert.equal(answer.status, 404, name);
    assert.match(await answer.text(), /no folder of an adapter/);
  }
});

test('the program says that it is ready', async () => {
  const health = await fetch(`${house.studio.url}/health`);
  assert.deepEqual([health.status, (await health.json()).status], [200, 'ok']);
});
